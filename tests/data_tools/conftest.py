"""Small real files to build from, and one way to run a command as a user does."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.__main__ import main


def jpeg(number: int, size: tuple[int, int] = (24, 16), **options: object) -> bytes:
    """A photo-like picture that differs by number."""
    noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize(size).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder `photos` with 0.jpg ... 6.jpg and the table `captions.tsv` beside it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = ["image\tcaption\tsplit"]
    for number in range(7):
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
        split = "test" if number == 6 else "train"
        rows += [f"photos/{number}.jpg\tcaption {number}{letter}\t{split}" for letter in "ab"]
    table = tmp_path / "captions.tsv"
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `python -m data_tools ...` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["data_tools", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def world(tmp_path_factory, tiny_arch):
    """What the conformance cases start from."""
    from tests.data_tools import conformance  # which imports this file

    return conformance.make_world(tmp_path_factory.mktemp("world"), tiny_arch)


@pytest.fixture(scope="session")
def expected(world, tmp_path_factory):
    """The result of each case, run once in one process."""
    from tests.data_tools import conformance

    found = {}

    def result(case):
        if case.name not in found:
            folder = tmp_path_factory.mktemp(f"one-{case.name}") / "case"
            found[case.name] = conformance.tree(case, world, folder, ["--executor", "serial"])
        return found[case.name]

    return result
