"""Real data of every kind, where the development data is present."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from data_tools.build import Build, build
from tests.data_tools.trees import fields, rows, samples
from tests.vlp.test_loader import dataset
from vlp.data.loader import batches

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


def json_lines(source, target, step):
    """Every `step`-th object of a file, with an absolute path of the picture."""
    lines = source.read_text(encoding="utf-8").splitlines()[::step]
    found = [json.loads(line) for line in lines]
    kept = [one | {"image": f"{source.parent}/{one['image']}"} for one in found]
    target.write_text("\n".join(map(json.dumps, kept)) + "\n", encoding="utf-8")
    return target


def class_tar(source, target, step):
    """Every `step`-th picture of a tar of class folders."""
    with tarfile.open(source) as tar, tarfile.open(target, "w") as out:
        for member in [member for member in tar if member.isfile()][::step]:
            out.addfile(member, tar.extractfile(member))
    return target


# (name, the input of a set for `build`, its options)
REAL = [
    ("flickr8k", lambda d: excerpt(DATA / "flickr8k" / "captions.tsv", d / "t.tsv", 401), []),
    ("emoji", lambda d: excerpt(DATA / "emoji" / "captions.tsv", d / "t.tsv", 61), []),
    (
        "coco_mini",
        lambda d: json_lines(DATA / "coco_mini" / "captions.jsonl", d / "t.jsonl", 3),
        ["--caption-column", "captions"],
    ),
    (
        "nlvr",
        lambda d: json_lines(DATA / "nlvr" / "statements.jsonl", d / "t.jsonl", 20),
        ["--caption-column", "sentence"],
    ),
    ("cifar10", lambda d: class_tar(DATA / "cifar10" / "test.tar", d / "test.tar", 50), []),
]


@pytest.mark.parametrize(("name", "made", "options"), REAL, ids=[name for name, *_ in REAL])
def test_the_whole_way_from_raw_data_to_batches(name, made, options, tmp_path, command):
    """Built, validated, enriched, chosen from and read as training does."""
    if not (DATA / name).is_dir():
        pytest.skip(f"the {name} data is not here")
    out = tmp_path / "out"

    def run(*arguments):
        code, printed, errors = command(*arguments, "--executor", "serial")
        assert code == 0, errors
        return printed

    run("build", "--input", made(tmp_path), "--output", out, *options)
    shards = out if list(out.glob("*.tar")) else out / "test"
    assert "0 errors" in run("validate", shards, "--level", "decode")
    run("stats", shards)
    run("negatives", shards)
    run("counts", shards, "--unverified")
    run("dedup", shards, "--by", "exact")
    run("filter", shards, "--where", "words > 0 AND lot < 0.9", "--after", "keep-dedup")
    counted = ["counts"] if name in ("flickr8k", "coco_mini", "nlvr") else []
    sidecars = ["keep", "negatives", *counted]
    kept = dataset(shards, batch=12, sidecars=sidecars)
    (batch,) = batches(kept, 0, 1, workers=0, pin_memory=False)
    assert batch["rows"]["pixels"].shape == (12, 3, 16, 16)
    assert not batch["problems"]
