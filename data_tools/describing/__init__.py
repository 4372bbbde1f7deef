"""What shards hold, described: one shard at a time, summed up, and shown."""
