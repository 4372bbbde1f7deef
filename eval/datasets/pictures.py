"""The pictures of a published set, which lie where its users unpacked them."""

from collections.abc import Sequence
from pathlib import Path

from eval.datasets.dataset import Place

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
_ABSENT = -1  # bytes of a file that is not there


class Pictures:
    """Pictures of a set, each once, in the order in which they are asked for.

    Args:
        root: folder of the set.
        folders: sub-folders with pictures, looked through in this order, and `root` after them.
    """

    def __init__(self, root: Path, folders: Sequence[str] = ()) -> None:
        self.keys: list[str] = []
        self.places: list[Place | None] = []
        self._root, self._names = root, folders
        self._folders = [*(root / name for name in folders if (root / name).is_dir()), root]
        self._known: dict[str, int] = {}

    def add(self, *names: str, box: Box | None = None) -> int:
        """The number of a picture, or of a part of one.

        A file that is not there is a place all the same: it fails when it is read, and is counted.

        Args:
            names: where it may lie below one of the folders; the first is what it is called.
            box: what of it is shown; all by default.
        """
        key = names[0] if box is None else f"{names[0]}[{','.join(f'{v:g}' for v in box)}]"
        if key not in self._known:
            self._known[key] = len(self.keys)
            self.keys.append(key)
            self.places.append(self._place(names, box))
        return self._known[key]

    def check(self) -> None:
        """Raises FileNotFoundError when there are pictures, and not one of their files is there."""
        if self.places and all(place is None or place.size == _ABSENT for place in self.places):
            folders = "".join(f"{name}/ or " for name in self._names)
            raise FileNotFoundError(
                f"data {self._root}: none of its {len(self.places)} pictures is there, the first: "
                f"{self.keys[0]!r}; they are expected in {folders}the folder itself"
            )

    def _place(self, names: Sequence[str], box: Box | None) -> Place:
        files = [folder / name for folder in self._folders for name in names]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            return Place(str(files[0]), 0, _ABSENT, box)
        return Place(str(found), 0, found.stat().st_size, box)
