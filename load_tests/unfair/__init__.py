"""Clients that ask for more than their share."""
