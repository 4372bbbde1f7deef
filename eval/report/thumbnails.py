"""Pictures of evaluated samples, small, as data URIs for a page that loads nothing."""

from collections.abc import Callable, Mapping

from eval.datasets import EvalDataset, open_dataset
from eval.interface import Array
from vlp.data.images import UnreadableImageError
from vlp.page import picture_uri

Picture = Callable[[str], str | None]  # key of a sample -> data URI


def thumbnails(saved: Mapping[str, Array]) -> tuple[Picture, str | None]:
    """Key of a sample -> picture as a data URI, and why pictures are missing, if they are.

    The pictures are read from the data set again, by key, if it is the one that was evaluated.

    Args:
        saved: arrays of a file of predictions.
    """
    try:
        dataset = open_dataset(str(saved["data"]), str(saved["split"]) or None)
    except (OSError, ValueError) as error:
        return _no_picture, f"no pictures, as the data cannot be read: {error}"
    dataset = dataset.limited(int(saved["limit"]) or None)
    if dataset.fingerprint != str(saved["data_sha"]):
        return _no_picture, "no pictures, as the data has changed since the evaluation"
    place = {key: position for position, key in enumerate(dataset.keys)}
    cache: dict[str, str | None] = {}

    def thumbnail(key: str) -> str | None:
        if key not in cache:
            cache[key] = _thumbnail(dataset, place.get(key))
        return cache[key]

    return thumbnail, None


def _no_picture(_: str) -> None:
    return None


def _thumbnail(dataset: EvalDataset, position: int | None) -> str | None:
    if position is None:
        return None
    try:
        _, image = dataset.item(position)
    except UnreadableImageError:
        return None
    return picture_uri(image)
