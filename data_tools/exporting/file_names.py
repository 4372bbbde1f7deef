"""Names of picture files, made of keys that may hold anything."""

import hashlib
import re

_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_DIGITS = 12


class FileNames:
    """Gives each key of a folder a file name that is safe anywhere, and unlike all others.

    A key that is no such name is cleaned and gets a part of its hash. Names differ also where
    upper and lower case do not.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, key: str, extension: str) -> str:
        """The name for a key."""
        stem = key if is_safe(key) else _with_hash(key)
        if f"{stem}.{extension}".lower() in self._taken:
            stem = _with_hash(key)
        self._taken.add(f"{stem}.{extension}".lower())
        return f"{stem}.{extension}"


def is_safe(key: str) -> bool:
    """Whether a key is a good file name as it is, and leads nowhere."""
    return bool(_SAFE.fullmatch(key)) and not _RESERVED.fullmatch(key) and key[-1] != "."


def _with_hash(key: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", key).strip("_")[:60] or "picture"
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{clean}-{digest[:_DIGITS]}"
