"""The parts of `build`: what inputs are read as, and how shards are written."""
