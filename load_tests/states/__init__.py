"""Speed and memory of features that learn from the stream."""
