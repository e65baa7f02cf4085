"""Quality on real impressions: networks and boosted trees that read the same features, judged day by day."""
