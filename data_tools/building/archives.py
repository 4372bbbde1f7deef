"""Tars of others: their members listed where they lie, and grouped into samples.

Nothing is unpacked, so no name can lead out of a folder. Links, and names that would lead out, are
failed rows all the same: an archive with those is not trusted.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from data_tools.building.collection import Picture
from data_tools.building.folders import PICTURE_SUFFIXES
from vlp.data.files import is_text
from vlp.data.tar import DamagedShardError, Member, scan, split_name
from vlp.errors import InputError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
_LONGEST_TEXT = 1 << 26  # bytes
_PICTURES = tuple(suffix[1:] for suffix in PICTURE_SUFFIXES)
TEXTS = ("txt", "json", "cls")


@dataclass
class TarSample:
    """Members of a tar that belong together."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)  # by extension

    @property
    def pictures(self) -> list[str]:
        """The extensions of its pictures."""
        return [extension for extension in self.members if extension in _PICTURES]


@dataclass
class Tar:
    """What a tar holds; `name` is how messages and rows call it."""

    path: Path
    name: str
    samples: list[TarSample] = field(default_factory=list)  # in the order of their first members
    links: list[str] = field(default_factory=list)  # those that are called like pictures
    ignored: int = 0  # members that belong to no sample

    def read(self, member: Member) -> bytes:
        """The bytes of a text or JSON; raises ValueError for one that is far too long."""
        if member.size > _LONGEST_TEXT:
            raise ValueError(f"{member.name} has {member.size:,} bytes, too many for a text")
        with open(self.path, "rb") as file:
            return os.pread(file.fileno(), member.size, member.offset)

    def picture(self, sample: TarSample) -> Picture:
        """The picture of a sample, without captions, with what is wrong with it."""
        found = sample.pictures
        member = sample.members[found[0]] if found else next(iter(sample.members.values()))
        picture = Picture(
            source=f"{self.name}/{member.name}",
            location=(str(self.path), member.offset, member.size),
        )
        names = ", ".join(f".{extension}" for extension in sample.members)
        if not found:
            return _failed(picture, f"no picture, but {names}")
        if len(found) > 1:
            return _failed(picture, f"more than one picture: {names}")
        if not is_inside(member.name):
            return _failed(picture, "the member's name leads out of the archive")
        return picture

    def link(self, name: str) -> Picture:
        """The failed picture of a member that is a link or a device."""
        picture = Picture(source=f"{self.name}/{name}")
        return _failed(picture, "a link or device in the tar, which is not followed")


def open_tar(path: Path, name: str) -> Tar:
    """List a tar and group its members, of which those of a sample need not lie together.

    A member that its sample has already begins another sample of the same key.

    Raises:
        InputError: it is damaged.
    """
    tar, special = Tar(path, name), list[str]()
    groups: dict[str, TarSample] = {}  # the latest of each key
    every: list[TarSample] = []
    try:
        for member in scan(path, special):
            key, extension = split_name(member.name)
            base = key.rpartition("/")[2]
            if not extension or not base or key.startswith("__MACOSX/"):
                tar.ignored += 1
                continue
            if not is_text(member.name):
                raise InputError(f"--input {path}: the member name {member.name!r} is not UTF-8")
            if key not in groups or extension in groups[key].members:
                groups[key] = TarSample(key)
                every.append(groups[key])
            groups[key].members[extension] = member
    except DamagedShardError as error:
        check_plain(path)
        raise InputError(f"--input {error}; `repair` keeps what is whole") from None
    for group in every:
        for sample in _by_last_dot(group):
            if sample.pictures or any(extension in TEXTS for extension in sample.members):
                tar.samples.append(sample)
            else:
                tar.ignored += len(sample.members)
    tar.links = [link for link in special if link.lower().endswith(PICTURE_SUFFIXES)]
    tar.ignored += len(special) - len(tar.links)
    return tar


def check_plain(path: Path) -> None:
    """Raises InputError for a file that is compressed."""
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise InputError(
                f"--input {path}: compressed with {name}; decompress it first, as members are read "
                "where they lie"
            )


def _by_last_dot(group: TarSample) -> Iterator[TarSample]:
    """A group whose names have dots in their keys, as `photo.v2.jpg`, as the samples it means.

    Beside a picture without such a dot only those with a text of their own are samples: others, as
    `photo.mask.png`, are further fields of that picture.
    """
    lasts = {extension: extension.rpartition(".") for extension in group.members}
    dotted = {rest for rest, _, last in lasts.values() if rest and last in _PICTURES}
    if group.pictures:
        dotted &= {rest for rest, _, last in lasts.values() if last in TEXTS}
        lasts = {extension: last for extension, last in lasts.items() if last[0] in dotted}
        rest_of_group = {name: at for name, at in group.members.items() if name not in lasts}
        yield TarSample(group.key, rest_of_group)
    elif not dotted:
        yield group
        return
    samples: dict[str, TarSample] = {}
    for extension, (rest, dot, last) in lasts.items():
        sample = samples.setdefault(rest, TarSample(f"{group.key}{dot and '.'}{rest}"))
        sample.members[last] = group.members[extension]
    yield from samples.values()


def _failed(picture: Picture, message: str) -> Picture:
    return replace(picture, status="failed_to_read", message=message)


def is_inside(name: str) -> bool:
    """Whether a member's name stays below the folder that a tar would be unpacked in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
