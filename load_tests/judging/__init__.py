"""Quality on real impressions: networks and boosted trees with the same features, compared day by day."""
