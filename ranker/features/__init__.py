"""Columns to tensors: one path for a training batch and for a request."""
