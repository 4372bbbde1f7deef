"""What one client may ask of the server."""

from dataclasses import dataclass

from vlp.errors import InputError

MOST_PARTS = 16  # texts of a query; pictures, ids and negative texts as well
MOST_CHARACTERS = 2000  # of a text; models read about 80 words
MOST_CONDITION = 4000  # characters of a condition
MOST_HITS = 1000  # of one page of results
MOST_INLINE = 500  # pictures inside one response of clip-retrieval's API
MOST_NUMBERS = 16_384  # of a vector
MOST_COMMAS = 100_000  # of a body: a list of millions takes seconds and gigabytes to refuse
LARGEST_ID = 2**63 - 1
SIDE, LEAST_SIDE, MOST_SIDE = 320, 16, 2048  # pixels of the longer side of a picture
INLINE_SIDE = 512  # of a picture inside a response
PIXELS = 50_000_000  # of a query's pictures together
HEADER_SECONDS = 30.0  # in which a connection must have brought a request, after another too
BODY_SECONDS = 30.0  # in which a request's body must have come


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The limits that a command sets.

    Args:
        upload_bytes: of a request's body; pictures in it are base64, a third larger than files.
        per_minute: searches of one client; 0 for as many as it likes.
        pictures_per_search: so many pictures it may have besides, for each search of a minute.
        threads: searches that run at the same time; as many pictures besides.
        waiting: searches that may wait for a thread, and pictures.
        connections: that are open at the same time.
    """

    upload_bytes: int = 10_000_000
    per_minute: int = 120
    pictures_per_search: int = 50
    threads: int = 4
    waiting: int = 64
    connections: int = 100

    def __post_init__(self) -> None:
        if self.upload_bytes < 1:
            raise InputError(f"upload_bytes {self.upload_bytes}: expected 1 or more")
        if self.per_minute < 0:
            raise InputError(f"per_minute {self.per_minute}: expected 0 or more")
