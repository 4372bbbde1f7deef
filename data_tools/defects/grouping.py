"""Members to samples, as readers group them: those that follow one another and share a key."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from data_tools.defects.names import Name, Problem, read_name
from data_tools.defects.walk import End, Entry, Gap, Item
from vlp.data.index import IMAGE_EXTENSIONS

_ASIDE = {
    b"1": "MEMBER_LINK",
    b"2": "MEMBER_LINK",
    b"3": "MEMBER_DEVICE",
    b"4": "MEMBER_DEVICE",
    b"6": "MEMBER_DEVICE",
}
_FOLDER = b"5"


class Aside(NamedTuple):
    """A member of no sample; a folder has no problem."""

    entry: Entry
    problem: Problem | None


class Part(NamedTuple):
    """A member of a sample."""

    extension: str
    entry: Entry
    problems: tuple[Problem, ...]  # of its name


class Run(NamedTuple):
    """Members that follow one another and share a key, each extension once.

    `repeats`: the key is that of the run before, of which it repeats an extension.
    """

    key: str
    parts: list[Part]
    repeats: bool = False
    dotted: bool = False  # its own key has a dot, at which readers cut it

    @property
    def start(self) -> int:
        """Where its first member begins, in bytes."""
        return self.parts[0].entry.start

    def extensions(self) -> tuple[str, ...]:
        """In the order of the tar."""
        return tuple(part.extension for part in self.parts)


def group(items: Iterable[Item]) -> Iterator[Gap | End | Aside | Run]:
    """Runs, and what belongs to none; what lies among the members of a run comes before it."""
    key, parts, there, repeats = "", list[Part](), set[str](), False
    for item in items:
        if not isinstance(item, Entry):
            yield from _finished(key, parts, repeats)
            key, parts, there, repeats = "", [], set(), False
            yield item
            continue
        name = read_name(item.name)
        aside = _aside(item, name)
        if aside is not None:
            yield aside
            continue
        again = name.key == key and name.extension in there
        if name.key != key or again:
            yield from _finished(key, parts, repeats)
            key, parts, there, repeats = name.key, [], set(), again
        parts.append(Part(name.extension, item, name.problems))
        there.add(name.extension)
    yield from _finished(key, parts, repeats)


def _aside(entry: Entry, name: Name) -> Aside | None:
    if entry.kind == b"0" and not entry.name.endswith(b"/"):
        return None if name.extension else Aside(entry, name.problems[0])
    shown = entry.name.decode("utf-8", "backslashreplace")
    if entry.kind in (_FOLDER, b"0"):
        return Aside(entry, None)
    kind = entry.kind.decode("latin-1")
    code = _ASIDE.get(entry.kind, "MEMBER_SPECIAL")
    return Aside(entry, Problem(code, f"{shown!r} of type {kind!r}"))


def _finished(key: str, parts: list[Part], repeats: bool) -> Iterator[Run]:
    if not parts:
        return
    named = {part.extension for part in parts}
    if not named.intersection(IMAGE_EXTENSIONS) and any(map(_is_dotted, named)):
        yield from _by_last_dot(key, parts)
    else:
        yield Run(key, parts, repeats)


def _is_dotted(extension: str) -> bool:
    return "." in extension and extension.rpartition(".")[2] in IMAGE_EXTENSIONS


def _by_last_dot(key: str, parts: list[Part]) -> Iterator[Run]:
    """`photo.v2.jpg` and `photo.v2.txt` are meant as the key `photo.v2`."""
    runs: dict[str, list[Part]] = {}
    for part in parts:
        middle, dot, extension = part.extension.rpartition(".")
        members = runs.setdefault(f"{key}{'.' if dot else ''}{middle}", [])
        members.append(part._replace(extension=extension))
    for own, members in runs.items():
        yield Run(own, members, dotted=own != key)
