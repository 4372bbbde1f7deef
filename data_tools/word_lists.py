"""Lists of words, written as plain text."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for look-ups."""
    return frozenset(text.split())


def names(text: str) -> tuple[str, ...]:
    """The names of a text, of several words each, between commas."""
    return tuple(name.strip() for name in text.split(","))
