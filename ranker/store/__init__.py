"""The only door to Redis: where it is, how its keys are named, what stands under them."""
