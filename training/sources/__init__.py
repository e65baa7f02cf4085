"""Sources of examples: Arrow record batches in event-time order."""
