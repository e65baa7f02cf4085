"""What keeps a process in step: with the registry, the feature store and the feature state."""
