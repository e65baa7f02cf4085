"""Where examples come from: Arrow record batches in event-time order."""
