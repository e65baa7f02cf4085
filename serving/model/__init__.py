"""What ranks: the model's thread, one served bundle, its resident videos and feature state."""
