"""The side-by-side benchmark of HTTP ranking services: its world, its client, its contenders."""
