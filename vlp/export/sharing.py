"""What is said of a model where others read it: without the folders of the machine it is from."""

import re
from dataclasses import replace
from typing import Any

from vlp.checkpoint import Card

_ABSOLUTE = re.compile(r"(?:file://)?(?:[\\/~]|[A-Za-z]:[\\/])")


def without_folders(value: Any) -> Any:  # noqa: ANN401 (whatever a recipe holds)
    """The same with absolute paths of local files cut to `.../NAME`, also inside dicts and lists.

    Such a path finds nothing elsewhere, and often names a person.
    """
    if isinstance(value, dict):
        return {key: without_folders(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(own) for own in value]
    if not isinstance(value, str) or not _ABSOLUTE.match(value):
        return value
    return ".../" + re.split(r"[\\/]", value.rstrip("\\/"))[-1]


def shared_card(card: Card) -> Card:
    """A checkpoint's card as an export shows it."""
    name, recipe = without_folders(card.name), without_folders(card.recipe)
    return replace(card, name=name, recipe=recipe)
