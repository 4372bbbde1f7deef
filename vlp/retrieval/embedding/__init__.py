"""Pictures of a folder, a table or shards, to embeddings on disk in clip-retrieval's layout."""
