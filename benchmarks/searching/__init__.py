"""What the benchmark of retrieval measures with: vectors, fresh processes, the peer."""
