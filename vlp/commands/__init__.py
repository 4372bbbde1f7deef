"""The commands of `vlp`: their options, and what they print."""
