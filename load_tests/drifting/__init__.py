"""The drifting world, ranked by several arms at once."""
