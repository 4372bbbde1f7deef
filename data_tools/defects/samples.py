"""One sample: everything that its members' bytes tell, for `validate` and for `repair` alike."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from data_tools.defects.codes import Level, reaches
from data_tools.defects.names import Problem
from data_tools.defects.pictures import check_picture
from data_tools.defects.texts import check_caption, check_record, has_caption, read_record
from vlp.data.images import MAX_PIXELS
from vlp.data.index import IMAGE_EXTENSIONS
from vlp.errors import InputError

READ = (*IMAGE_EXTENSIONS, "txt", "json")
MOST_BYTES = 1 << 28  # of a member that is read at all, so that memory stays bounded
_TEXTS = ("txt", "json", "cls")
_OTHER_PICTURES = ("gif", "bmp", "tif", "tiff", "avif", "heic", "jp2", "jxl", "svg")


@dataclass(frozen=True, kw_only=True)
class Checks:
    """How far a check goes."""

    level: Level = "headers"
    max_pixels: int = MAX_PIXELS
    max_caption: int = 1000  # characters

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_caption"):
            if getattr(self, name) < 1:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} {getattr(self, name)}: expected 1 or more")

    def reaches(self, level: Level) -> bool:
        """Whether what is found from `level` on is looked for."""
        return reaches(self.level, level)


class Found(NamedTuple):
    """A problem of one member; '' where it is the sample's."""

    extension: str
    problem: Problem


def missing(extensions: Collection[str]) -> Iterator[Problem]:
    """What a sample lacks that every reader needs, by the names of its members."""
    there = ", ".join(sorted(extensions))
    images = [name for name in IMAGE_EXTENSIONS if name in extensions]
    if not images:
        other = [name for name in _OTHER_PICTURES if name in extensions]
        hint = f"; readers take no .{other[0]}" if other else ""
        yield Problem("MISSING_IMAGE", f"only {there}{hint}")
    if not any(name in extensions for name in _TEXTS):
        yield Problem("MISSING_TEXT", f"only {there}")
    if len(images) > 1:
        yield Problem("SEVERAL_IMAGES", f"{', '.join(images)}; readers take .{images[0]}")


def check_sample(key: str, members: Mapping[str, bytes], checks: Checks) -> Iterator[Found]:
    """What is wrong with the content of a sample's members, as far as they are given."""
    for extension in IMAGE_EXTENSIONS:
        if extension in members:
            found = check_picture(
                extension, members[extension], checks.max_pixels, checks.reaches("decode")
            )
            yield from (Found(extension, problem) for problem in found)
    if "txt" in members:
        for problem in check_caption(members["txt"], checks.max_caption):
            yield Found("txt", problem)
    if "json" in members:
        record, wrong = read_record(members["json"])
        if record is not None:
            for problem in check_record(key, record, members.get("txt")):
                yield Found("json", problem)
        elif wrong is not None:
            yield Found("json", wrong)
        is_alone = not {"txt", "cls"} & set(members) and set(members) & set(IMAGE_EXTENSIONS)
        if is_alone and record is not None and not has_caption(record):
            yield Found("", Problem("MISSING_TEXT", "no .txt, and no `captions` in its .json"))
