"""Quality on real impressions: networks and boosted trees given the same information, judged day by day."""
