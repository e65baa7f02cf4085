"""The one log of events: what the service showed, and what viewers did with it."""
