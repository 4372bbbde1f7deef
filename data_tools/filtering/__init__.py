"""What `filter` is made of: SQL conditions, their columns, the largest, and what is kept."""
