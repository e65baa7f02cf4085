"""Whether a new bundle may rank in place of the one that does."""
