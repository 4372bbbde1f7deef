"""Pictures read and prepared by threads, ahead of the model that takes them."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from vlp.data.files import is_text
from vlp.data.images import UnreadableImageError, check_shape, decode
from vlp.retrieval.embedding.items import ABSENT, Item
from vlp.retrieval.pictures import MissingPictureError, read_picture

_AHEAD = 2  # batches
_MOST_WORKERS = 8

Preprocess = Callable[[Image.Image], Tensor]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A picture as the model takes it, and what is known of it; or why it cannot be used.

    Args:
        item: what it is in the data.
        pixels: [3, H, W] uint8.
        sha256: of its bytes.
        width: upright, in pixels.
        height: the same.
        problem: why it cannot be used.
        lasting: whether that stays until the picture changes, as it is the picture's own.
    """

    item: Item
    pixels: Tensor | None = None
    sha256: str = ""
    width: int = 0
    height: int = 0
    problem: str = ""
    lasting: bool = True


def default_workers() -> int:
    """Threads of this process: all cores, divided among the processes of this machine."""
    there = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_MOST_WORKERS, there))


def prepared_batches(
    items: Sequence[Item], preprocess: Preprocess, size: tuple[int, int], batch: int, workers: int
) -> Generator[list[Prepared], None, None]:
    """The pictures in order, `batch` at a time, whether they could be read or not.

    Args:
        preprocess: of the model.
        size: (height, width) that it gives.
        workers: threads.
    """
    waiting: deque[list[Future[Prepared]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for begin in range(0, len(items), batch):
                some = items[begin : begin + batch]
                waiting.append([pool.submit(_prepare, item, preprocess, size) for item in some])
                if len(waiting) > _AHEAD:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(item: Item, preprocess: Preprocess, size: tuple[int, int]) -> Prepared:
    if not is_text(item.image_path):
        return Prepared(item=item, problem="its name is not UTF-8; rename it")
    try:
        data = read_picture(item.image_path)
    except MissingPictureError as error:
        told = str(error).removeprefix(f"{item.image_path}: ")
        return Prepared(item=item, problem=told, lasting=item.size == ABSENT)
    try:
        image = decode(data).image
        check_shape(image, size)
        pixels = preprocess(image)
    except UnreadableImageError as error:
        return Prepared(item=item, problem=str(error))
    except MemoryError:
        told = "there is not enough memory to decode it"
        return Prepared(item=item, problem=told, lasting=False)
    digest = hashlib.sha256(data).hexdigest()
    width, height = image.size
    return Prepared(item=item, pixels=pixels, sha256=digest, width=width, height=height)
