"""Watchdogs of a trainer that follows the log of events: what is not as it was."""
