"""Simulated viewers: clients of a service that live in the simulated world."""
