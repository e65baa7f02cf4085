"""The contenders of the training benchmark, each in its own documented training loop."""
