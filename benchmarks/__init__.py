"""Predictor or file in, measurements out: quality, footprint, latency, and their table."""
