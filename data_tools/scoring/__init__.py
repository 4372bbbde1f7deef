"""Parts of the command `score`."""
