"""The kinds of labels, and what follows from the kind: losses, units, metrics."""
