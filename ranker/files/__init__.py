"""Files and folders: where a URL leads, and writing and locking without loss."""
