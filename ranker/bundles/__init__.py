"""Exported models: immutable, verified, versioned."""
