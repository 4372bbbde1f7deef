"""Parts of `counts`: what captions count, what pictures show, and what of it agrees."""
