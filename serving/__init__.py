"""From requests to rankings: the HTTP service and its commands."""
