"""Pictures of an index as clients see them: small JPEGs without anything that the files carry."""

import io
import threading
from collections import OrderedDict

from vlp.data.images import UnreadableImageError, decode
from vlp.retrieval.pictures import read_picture
from vlp.serve.catalogue import Served
from vlp.serve.refusals import Refused

PATH, MARK = "image_path", "mark"
_QUALITY = 85  # of a JPEG
_KEPT = 64_000_000  # bytes
Key = tuple[str, str | None, int]


class Thumbnails:
    """Pictures of indices, the latest of them kept in memory.

    Which file is read is told by the index alone; clients name an id.

    Args:
        most_bytes: kept in memory.
    """

    def __init__(self, most_bytes: int = _KEPT) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, served: Served, number: int, side: int) -> bytes:
        """A JPEG.

        Args:
            served: the index.
            number: id of the picture.
            side: most pixels of a side.

        Raises:
            UnknownIdError: the index does not hold it.
            MissingPictureError: its file is gone.
            Refused: the index has no pictures, or the file is none any more.
        """
        snapshot = served.view.snapshot
        if snapshot.manifest.modality != "image" or PATH not in snapshot.columns:
            raise Refused(404, f"the index {served.name!r} has no pictures")
        columns = [name for name in (PATH, MARK) if name in snapshot.columns]
        row = snapshot.table(snapshot.rows_of([number]), columns).to_pylist()[0]
        if row[PATH] is None:
            raise Refused(404, f"the index does not know the file of picture {number}")
        return self.of_file(row[PATH], row.get(MARK), side)

    def of_file(self, image_path: str, mark: str | None, side: int) -> bytes:
        """The same, of what the index says."""
        key = (image_path, mark, side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = _jpeg(image_path, side)
        with self._lock:
            self._bytes += len(made) - len(self._kept.pop(key, b""))
            self._kept[key] = made
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made


def _jpeg(image_path: str, side: int) -> bytes:
    try:
        image = decode(read_picture(image_path)).image
    except UnreadableImageError as error:
        raise Refused(404, f"{image_path} is no readable picture any more: {error}") from None
    image.thumbnail((side, side))
    image.info.clear()  # else comments and profiles of the file would be written again
    written = io.BytesIO()
    image.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()
