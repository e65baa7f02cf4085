"""The only door to Redis: its clients, the names of its keys, and what is stored under them."""
