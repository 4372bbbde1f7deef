"""What `balance` is made of: a list of entries, their matches in captions, counts and draws."""
