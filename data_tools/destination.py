"""Where a data folder is written: a folder of this machine, or any place that fsspec opens.

A folder of this machine gets its files under temporary names that are renamed. Elsewhere a shard is
written to a temporary folder of this machine and copied, its commit mark last.
"""

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fsspec

from vlp.data.files import replace_atomically
from vlp.data.leftovers import remove_leftovers_in
from vlp.errors import InputError

_SUBFOLDERS = ("", "annotations/index/")  # where the files of a data folder lie
_OWN = (
    r"(\d{5,}(\.tar|\.parquet|_stats\.json)|(manifest|sizes)\.json"
    r"|(classnames|zeroshot_classification_templates)\.txt)"
)
OWN_FILE = re.compile(rf"(annotations/index/)?{_OWN}")
_TEMPORARY = re.compile(rf"\.{_OWN}\..+")


class Destination(Protocol):
    """A data folder; names of files are relative to it."""

    def child(self, name: str) -> "Destination":
        """The folder `name` inside; '' is this one itself."""

    def folders(self) -> list[str]:
        """Names of the folders inside, sorted."""

    def files(self) -> dict[str, int]:
        """Name and bytes of the files here and in annotations/index."""

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is none."""

    def read_several(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those files that can be read."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def held(self, part: str) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for one run, or for one part (I/N) of a run.

        Raises:
            InputError: another run is writing there, or the folder cannot be made.
        """

    def workplace(self) -> contextlib.AbstractContextManager[Path]:
        """A folder of this machine to write the files of a shard to."""

    def publish(self, folder: Path, names: Sequence[str]) -> None:
        """Bring files of a `workplace` to where they belong, in this order."""

    def fetch(self, name: str, folder: Path) -> Path:
        """A file of this machine with the bytes of `name`; a copy of it goes into `folder`."""


def destination(place: str) -> Destination:
    """The destination of a path or URL.

    Raises:
        InputError: nothing can be written there.
    """
    if not place.strip():
        raise InputError("--output: empty; expected a folder or a URL")
    if place.startswith("file://"):
        return LocalFolder(Path(place.removeprefix("file://")))
    if "://" not in place:
        return LocalFolder(Path(place))
    try:
        fsspec.get_filesystem_class(fsspec.utils.get_protocol(place))
    except (ValueError, ImportError) as error:
        raise InputError(f"--output {place}: {error}") from None
    return RemoteFolder(place.rstrip("/"))


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine, or one that several machines share."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def child(self, name: str) -> "LocalFolder":
        return LocalFolder(self.path / name)

    def folders(self) -> list[str]:
        return sorted(entry.name for entry in _entries(self.path) if entry.is_dir())

    def files(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for below in _SUBFOLDERS:
            for entry in _entries(self.path / below):
                # other parts may rename their temporary files, or remove them, meanwhile
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file():
                        found[below + entry.name] = entry.stat().st_size
        return found

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def read_several(self, names: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name in names:
            with contextlib.suppress(OSError):
                found[name] = self.read(name)
        return found

    def write(self, name: str, data: bytes) -> None:
        replace_atomically(self.path / name, lambda temporary: temporary.write_bytes(data))

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self, part: str) -> Iterator[None]:
        is_whole = part.endswith("/1")
        with contextlib.ExitStack() as locks:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                locks.enter_context(self._lock(fcntl.LOCK_EX if is_whole else fcntl.LOCK_SH))
                if not is_whole:
                    locks.enter_context(self._part_lock(part))
            except OSError as error:
                raise InputError(f"--output {self}: {error.strerror}") from None
            self._tidy(is_whole)
            yield

    def workplace(self) -> contextlib.AbstractContextManager[Path]:
        return contextlib.nullcontext(self.path)

    def publish(self, folder: Path, names: Sequence[str]) -> None:
        """Nothing is left to do: each file was renamed to its place when it was whole."""

    def fetch(self, name: str, folder: Path) -> Path:
        return self.path / name

    @contextlib.contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """A lock on the folder itself ends with the process and leaves no file."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            _flock(handle, kind, f"--output {self}: another run is writing there")
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _part_lock(self, part: str) -> Iterator[None]:
        path = self.path / f".part-{part.replace('/', '-of-')}.lock"
        busy = f"--output {self}: another run is writing part {part}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _flock(handle, fcntl.LOCK_EX, busy)
            if not path.exists() or not os.path.samestat(os.fstat(handle), path.stat()):
                raise InputError(busy)  # it ended, or began, between the two lines above
            yield
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def _tidy(self, is_alone: bool) -> None:
        """Remove what killed runs left behind; locks of parts only where no part is held."""
        for below in _SUBFOLDERS:
            remove_leftovers_in(self.path / below, _TEMPORARY.fullmatch)
        if is_alone:
            for lock in self.path.glob(".part-[0-9]*-of-[0-9]*.lock"):
                lock.unlink()


@dataclass(frozen=True)
class RemoteFolder:
    """A folder that fsspec opens, such as s3://BUCKET/NAME. Nothing there locks out other runs."""

    url: str

    def __str__(self) -> str:
        return self.url

    def child(self, name: str) -> "RemoteFolder":
        return RemoteFolder(f"{self.url}/{name}") if name else self

    def folders(self) -> list[str]:
        entries = self._listed("")
        return sorted(Path(entry["name"]).name for entry in entries if entry["type"] == "directory")

    def files(self) -> dict[str, int]:
        return {
            below + Path(entry["name"]).name: int(entry["size"])
            for below in _SUBFOLDERS
            for entry in self._listed(below)
            if entry["type"] == "file"
        }

    def read(self, name: str) -> bytes:
        data: bytes = self._system().cat_file(self._inside(name))
        return data

    def read_several(self, names: Sequence[str]) -> dict[str, bytes]:
        system = self._system()
        paths = {system._strip_protocol(self._inside(name)): name for name in names}
        found = system.cat(list(paths), on_error="omit") if paths else {}
        return {paths[path]: data for path, data in found.items()}

    def write(self, name: str, data: bytes) -> None:
        self._system().pipe_file(self._inside(name), data)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._system().rm_file(self._inside(name))

    @contextlib.contextmanager
    def held(self, part: str) -> Iterator[None]:
        del part
        try:
            for below in _SUBFOLDERS:
                self._system().makedirs(self._inside(below).rstrip("/"), exist_ok=True)
        except OSError as error:
            raise InputError(f"--output {self}: {error.strerror or error}") from None
        yield

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="vlp-shard-") as folder:
            yield Path(folder)

    def publish(self, folder: Path, names: Sequence[str]) -> None:
        for name in names:
            self._system().put_file(str(folder / name), self._inside(name))

    def fetch(self, name: str, folder: Path) -> Path:
        path = folder / f"former-{Path(name).name}"
        self._system().get_file(self._inside(name), str(path))
        return path

    def _listed(self, below: str) -> list[Mapping[str, Any]]:
        system = self._system()
        system.invalidate_cache()
        try:
            return list(system.ls(self._inside(below).rstrip("/"), detail=True))
        except FileNotFoundError:
            return []

    def _inside(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _system(self) -> Any:  # noqa: ANN401 (fsspec has no types)
        return fsspec.core.url_to_fs(self.url)[0]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _flock(handle: int, kind: int, busy: str) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(busy) from None
    except OSError:
        pass  # a file system without locks: the user alone can keep two runs apart
