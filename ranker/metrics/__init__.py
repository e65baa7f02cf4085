"""What predictions are worth: exact metrics, their intervals, and metrics that stream."""
