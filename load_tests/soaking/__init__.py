"""A service under steady load while everything around it changes."""
