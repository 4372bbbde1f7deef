"""Names of members: the key and extension that readers see, and what is wrong with them.

A name out of a tar is never used as a path.
"""

import re
from typing import NamedTuple

from vlp.data.files import is_text
from vlp.data.tar import split_name

_LONGEST = 100  # bytes that a plain tar header holds
_PLAIN = re.compile(rb"(?:\./)?((?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+)\.([a-z0-9]+)")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\udc80-\udcff.\\:]")


class Problem(NamedTuple):
    """A code and what exactly was found."""

    code: str
    detail: str


class Name(NamedTuple):
    """What a reader makes of a member's name; no extension means that it passes the member."""

    key: str
    extension: str  # lower case
    problems: tuple[Problem, ...] = ()


def read_name(raw: bytes) -> Name:
    """Split a name as readers do, and say what is wrong with it."""
    plain = _PLAIN.fullmatch(raw)
    if plain and len(raw) <= _LONGEST and b"__MACOSX" not in raw:
        return Name(plain[1].decode(), plain[2].decode())
    name = raw.decode("utf-8", "surrogateescape")
    key, extension = split_name(name)
    passed = _why_passed(name, key, extension)
    if passed:
        return Name(key, "", (Problem(passed, _shown(name)),))
    return Name(key, extension, tuple(_problems(raw, name, extension)))


def _why_passed(name: str, key: str, extension: str) -> str:
    base = name.rpartition("/")[2]
    if "__MACOSX" in name.split("/"):
        return "NAME_MACOSX"
    if base.startswith(".") or not key.rpartition("/")[2]:
        return "NAME_HIDDEN"
    return "" if extension else "NAME_NO_EXTENSION"


def _problems(raw: bytes, name: str, extension: str) -> list[Problem]:
    found = {
        "NAME_ABSOLUTE": name.startswith(("/", "\\")) or bool(_DRIVE.match(name)),
        "NAME_PARENT": ".." in re.split(r"[\\/]", name),
        "NAME_NOT_UTF8": not is_text(name),
        "NAME_CONTROL": bool(_CONTROL.search(name)),
        "NAME_UPPER_CASE": not name.endswith(extension),
        "NAME_TOO_LONG": len(raw) > _LONGEST,
    }
    return [Problem(code, _shown(name)) for code, applies in found.items() if applies]


def _shown(name: str) -> str:
    return f"{name!r:.120}"


def safe_key(key: str) -> str:
    """A key by which no reader stumbles: relative, without dots and control characters."""
    parts = [part for part in key.split("/") if part not in ("", ".", "..")]
    return "/".join(_UNSAFE.sub("_", part) for part in parts)
