"""The ways of sharing parameters between tasks, one per file."""
