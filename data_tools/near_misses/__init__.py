"""How captions become nearly the same and false: rules, models, a blind test."""
