"""The items of a selection set, gathered one by one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval.datasets.selection import IMAGE, TEXT, Selection

Cell = tuple[int, str]  # picture, text


@dataclass(frozen=True)
class Comparison:
    """`right` must score higher than `wrong`."""

    right: Cell
    wrong: Cell
    kind: str = ""  # group of the comparison for the breakdown


@dataclass(kw_only=True)
class Items:
    """Items with their comparisons; a text is kept once."""

    macro_from: int = 1
    left_out: int = 0  # items of the set that are not added
    _identical: int = 0
    _names: dict[str, int] = field(default_factory=dict)
    _texts: dict[str, int] = field(default_factory=dict)
    _right: list[tuple[int, int]] = field(default_factory=list)
    _wrong: list[tuple[int, int]] = field(default_factory=list)
    _item: list[int] = field(default_factory=list)
    _kinds: list[str] = field(default_factory=list)

    def add(self, name: str, comparisons: Sequence[Comparison]) -> None:
        """One item; comparisons of a pair with itself are dropped, and an item with no others.

        Raises:
            ValueError: there is an item of this name.
        """
        real = [one for one in comparisons if one.right != one.wrong]
        self._identical += len(comparisons) - len(real)
        if not real:
            self.left_out += 1
            return
        if name in self._names:
            raise ValueError(f"two items are called {name!r}")
        self._names[name] = len(self._names)
        for one in real:
            self._right.append(self._cell(one.right))
            self._wrong.append(self._cell(one.wrong))
            self._kinds.append(one.kind)
            self._item.append(self._names[name])

    def choose_text(
        self, name: str, picture: int, right: str, wrong: Iterable[tuple[str, str]]
    ) -> None:
        """A picture with its text, and near misses of this as (kind, text)."""
        self.add(name, [Comparison((picture, right), (picture, text), k) for k, text in wrong])

    def choose_image(self, name: str, text: str, right: int, wrong: Iterable[int]) -> None:
        """A text with a picture of which it is true, and pictures of which it is false."""
        self.add(name, [Comparison((right, text), (picture, text)) for picture in wrong])

    def selection(self) -> Selection:
        """All that was added."""
        pairs = zip(self._right, self._wrong, strict=True)
        return Selection(
            texts=list(self._texts),
            right=np.array(self._right, dtype=np.int64).reshape(-1, 2),
            wrong=np.array(self._wrong, dtype=np.int64).reshape(-1, 2),
            item=np.array(self._item, dtype=np.int64),
            chosen=[TEXT if right[0] == wrong[0] else IMAGE for right, wrong in pairs],
            kinds=self._kinds,
            names=list(self._names),
            macro_from=self.macro_from,
            left_out=self.left_out,
            identical=self._identical,
        )

    def _cell(self, cell: Cell) -> tuple[int, int]:
        picture, text = cell
        return picture, self._texts.setdefault(text, len(self._texts))
