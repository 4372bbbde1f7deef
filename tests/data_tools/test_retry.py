"""`--retry-failed`: what failed is tried again, and nothing else changes."""

import json
import shutil
from pathlib import Path

import pytest

from data_tools.build import Build, build
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import files, rows
from vlp.errors import InputError

PER_SHARD = 3


@pytest.fixture
def broken(photos: Path, tmp_path: Path):
    """The options of a build of which 1 is missing, 2 cut and 5 no picture."""
    folder = tmp_path / "photos"
    (folder / "1.jpg").unlink()
    (folder / "2.jpg").write_bytes(jpeg(2)[:300])
    (folder / "5.jpg").write_bytes(b"<html>")
    options = {
        "input": photos,
        "output": tmp_path / "out",
        "samples_per_shard": PER_SHARD,
        "workers": 1,
    }
    build(Build(**options))
    return options


def mend(tmp_path: Path, *numbers: int) -> None:
    for number in numbers:
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(jpeg(number))


def fresh(options: dict, tmp_path: Path) -> dict[str, bytes]:
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    build(Build(**options | {"output": tmp_path / "fresh"}))
    return files(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("mended", "workers"), [((1,), 1), ((2,), 1), ((1, 2, 5), 1), ((1, 2, 5), 2), ((5,), 1)]
)
def test_the_result_is_that_of_a_fresh_build(broken, tmp_path, mended, workers) -> None:
    mend(tmp_path, *mended)
    build(Build(**broken | {"workers": workers}, retry_failed=True))
    assert files(tmp_path / "out") == fresh(broken, tmp_path)


def test_only_shards_that_gain_are_written(broken, tmp_path, command) -> None:
    out = tmp_path / "out"
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}
    mend(tmp_path, 5)
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in broken.items()]
    code, printed, _ = command("build", *arguments, "--retry-failed")
    assert code == 0
    assert "3 inputs that failed, in 2 shards, are tried again" in printed
    assert "7 inputs = 5 written + 1 failed_to_decode + 1 failed_to_read" in printed
    changed = {name for name in before if (out / name).stat().st_mtime_ns != before[name]}
    assert {name[:5] for name in changed if name[0] == "0"} == {"00001"}


def test_a_repair_of_the_same_size_is_found(broken, tmp_path, capsys) -> None:
    """The input's fingerprint does not change by it."""
    good = jpeg(5)
    (tmp_path / "photos" / "5.jpg").write_bytes(bytes(len(good)))
    build(Build(**broken, restart=True))
    (tmp_path / "photos" / "5.jpg").write_bytes(good)
    build(Build(**broken))
    assert "none was missing" in capsys.readouterr().out
    build(Build(**broken, retry_failed=True))
    assert files(tmp_path / "out") == fresh(broken, tmp_path)


def test_a_retry_without_any_repair_changes_nothing(broken, tmp_path) -> None:
    before = files(tmp_path / "out")
    build(Build(**broken, retry_failed=True))
    assert files(tmp_path / "out") == before


def test_without_the_option_the_change_is_refused_with_a_hint(broken, tmp_path) -> None:
    mend(tmp_path, 1)
    with pytest.raises(InputError, match=r"first in 00000.tar: if only .* give --retry-failed"):
        build(Build(**broken))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda photos, table: (photos / "0.jpg").write_bytes(jpeg(9)), "0.jpg: is another pic"),
        (lambda photos, table: (photos / "0.jpg").unlink(), "0.jpg: had been read, now not"),
        (
            lambda photos, table: swap(table, "caption 0a", "c"),
            r"0.jpg: captions was \['caption 0a",
        ),
        (lambda photos, table: swap(table, "photos/0.jpg", "photos/x.jpg"), "0.jpg: is now"),
        (lambda photos, table: swap(table, "caption 6a", "c"), "00002.tar, in which nothing"),
        (lambda photos, table: swap(table, "0a\ttrain", "0a\tval"), "0.jpg: extra was"),
        (
            lambda photos, table: swap(table, "photos/6.jpg\tcaption 6a\ttest\n", ""),
            "00002.tar, in",
        ),
    ],
)
def test_other_changes_are_refused_and_nothing_is_touched(
    broken, tmp_path, change, message
) -> None:
    mend(tmp_path, 1, 2, 5)
    before = files(tmp_path / "out")
    change(tmp_path / "photos", broken["input"])
    with pytest.raises(InputError, match=message):
        build(Build(**broken, retry_failed=True))
    assert files(tmp_path / "out") == before


def test_an_input_that_has_grown_is_refused(broken, tmp_path) -> None:
    options = broken | {"samples_per_shard": 7, "restart": True}
    build(Build(**options))
    with broken["input"].open("a") as file:
        file.write("photos/7.jpg\tcaption 7a\ttest\n")
    with pytest.raises(InputError, match="has changed outside the shards that are finished"):
        build(Build(**options | {"restart": False}, retry_failed=True))


def swap(table: Path, old: str, new: str) -> None:
    table.write_text(table.read_text().replace(old, new))


@pytest.mark.parametrize("loss", ["00000_stats.json", "00001.tar", "manifest"])
@pytest.mark.parametrize("again", [True, False])
def test_a_retry_that_was_killed_is_completed(broken, tmp_path, loss, again) -> None:
    """Its traces: the manifest of the new input, and shards that are the old or the new ones."""
    old = files(tmp_path / "out")
    mend(tmp_path, 1, 2, 5)
    build(Build(**broken, retry_failed=True))
    whole = files(tmp_path / "out")
    manifest = json.loads(whole["manifest.json"])
    del manifest["shards"]
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest | {"complete": False}))
    if loss == "manifest":
        for name in old:  # the first shard was not written yet
            if "00000" in name:
                (tmp_path / "out" / name).write_bytes(old[name])
    else:
        (tmp_path / "out" / loss).unlink()
    build(Build(**broken, retry_failed=again))
    assert files(tmp_path / "out") == whole == fresh(broken, tmp_path)


def test_captions_of_failed_rows_may_be_mended_too(broken, tmp_path) -> None:
    mend(tmp_path, 1)
    swap(broken["input"], "caption 1a", "a better caption")
    build(Build(**broken, retry_failed=True))
    assert rows(tmp_path / "out" / "00000.tar")[1]["caption"] == "a better caption"
    assert files(tmp_path / "out") == fresh(broken, tmp_path)


def test_with_restart_it_makes_no_sense(broken) -> None:
    with pytest.raises(InputError, match="give one of the two"):
        build(Build(**broken, restart=True, retry_failed=True))
