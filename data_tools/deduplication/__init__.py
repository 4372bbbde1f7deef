"""Parts of the command `dedup`: signatures of pictures, the search for near ones, the verdicts."""
