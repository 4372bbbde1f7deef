"""The formats of `export`, each written shard by shard."""
