"""Defects of shards: how each is found, what it is called, and what `repair` does about it."""
