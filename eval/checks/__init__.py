"""`python -m eval check`: what a data set is, and what is wrong with it."""
