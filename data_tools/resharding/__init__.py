"""The parts of `reshard`: what the inputs hold, which samples go where, and writing the shards."""
