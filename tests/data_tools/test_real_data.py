"""Real pictures of every mode, where the development data is present."""

import io
from pathlib import Path

import pytest
from PIL import Image

from data_tools.build import Build, build
from tests.data_tools.trees import fields, rows, samples

DATA = Path(__file__).parents[3] / "shared" / "data"


def excerpt(source: Path, target: Path, step: int) -> Path:
    """Every `step`-th row of a table of paths and captions, with absolute paths."""
    header, *lines = source.read_text(encoding="utf-8").splitlines()
    kept = [f"{source.parent}/{line}" for line in lines[::step]]
    target.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    return target


@pytest.mark.skipif(not (DATA / "emoji").is_dir(), reason="the emoji data is not here")
def test_emoji_with_palettes_and_transparency_lose_the_latter(tmp_path: Path) -> None:
    table = excerpt(DATA / "emoji" / "captions.tsv", tmp_path / "t.tsv", 61)
    build(Build(input=table, output=tmp_path / "out", workers=1))
    assert {row["status"] for row in rows(tmp_path / "out" / "00000.tar")} == {"success"}
    for members in samples(tmp_path / "out" / "00000.tar").values():
        with Image.open(io.BytesIO(members["png"])) as image:
            assert image.mode in ("RGB", "P")  # an opaque palette is kept as it is
            assert "transparency" not in image.info
            assert (image.mode == "P") <= fields(members)["verbatim"]


@pytest.mark.skipif(not (DATA / "flickr8k").is_dir(), reason="the flickr8k data is not here")
def test_photos_are_kept_byte_for_byte(tmp_path: Path) -> None:
    table = excerpt(DATA / "flickr8k" / "captions.tsv", tmp_path / "t.tsv", 997)
    build(Build(input=table, output=tmp_path / "out", workers=1))
    found = samples(tmp_path / "out" / "00000.tar").values()
    assert len(found) > 30
    for members in found:
        assert Path(fields(members)["url"]).read_bytes() == members["jpg"]
