"""What `rewrite` is made of: prompts, language models, saved answers and the checks of answers."""
