"""Search: embeddings on disk, indexes, queries, and the server of the page."""
