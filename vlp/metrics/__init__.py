"""Metrics as pure functions: arrays in, numbers out, no files and no models."""
