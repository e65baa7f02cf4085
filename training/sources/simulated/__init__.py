"""The simulated world: a log whose truth is known."""
