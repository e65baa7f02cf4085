"""How fast features that learn from the stream are, and how much memory they take."""
