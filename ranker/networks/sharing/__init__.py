"""The ways of sharing parameters between tasks, one a file."""
