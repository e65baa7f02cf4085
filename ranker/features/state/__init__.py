"""What is known at a moment of viewers, videos and pairs of both: the state that learns from the stream."""
