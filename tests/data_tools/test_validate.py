"""`validate`: what readers take for a clean end, the report, its order, and exit codes."""

import json
import os
import shutil
from pathlib import Path

import pytest

from data_tools.defects.codes import CODES, as_markdown
from data_tools.validate import Validate, validate
from tests.data_tools.conftest import jpeg
from tests.data_tools.test_validate_cases import GOOD, WHOLE, codes, header_of, sample, tar
from vlp.data.images import UnreadableImageError
from vlp.data.index import write_index

REAL = Path(__file__).parents[2] / "data"
TWENTY = tar(*map(sample, range(20)))
TENTH = header_of(TWENTY, "000000010.jpg")
CLEAN_ENDS = {
    "TAR_TRUNCATED": TWENTY[:TENTH],
    "TAR_CUT_IN_HEADER": TWENTY[: TENTH + 200],
    "TAR_BAD_CHECKSUM": TWENTY[: TENTH + 148] + b"0000000\0" + TWENTY[TENTH + 156 :],
    "TAR_ZEROED_HEADER": TWENTY[:TENTH] + bytes(512) + TWENTY[TENTH + 512 :],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three shards: good, cut, with bad texts."""
    made = tmp_path / "shards"
    made.mkdir()
    (made / "00000.tar").write_bytes(tar(*map(sample, range(4))))
    (made / "00001.tar").write_bytes(tar(*map(sample, range(4, 8)))[:-10_000])
    bad = [sample(number, txt=b"") for number in range(8, 12)]
    (made / "00002.tar").write_bytes(tar(*bad, sample(1)))
    return made


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("code", CLEAN_ENDS)
def test_what_webdataset_reads_as_a_clean_end_is_named(tmp_path, capsys, code) -> None:
    webdataset = pytest.importorskip("webdataset")
    path = tmp_path / "shards" / "00000.tar"
    path.parent.mkdir()
    path.write_bytes(CLEAN_ENDS[code])
    told: list[Exception] = []
    dataset = webdataset.WebDataset(
        str(path), shardshuffle=False, empty_check=False, handler=lambda e: bool(told.append(e))
    )
    assert len(list(dataset)) == 10
    assert told == []
    exit_code, found = codes(capsys, path)
    assert exit_code == 1
    assert code in found
    report = lines(tmp_path / "report.jsonl")
    assert report[0]["code"] == code
    assert report[0]["offset"] == TENTH
    assert report[0]["key"] == "000000009"  # the last good one


def test_the_report_does_not_depend_on_workers(folder, tmp_path, command) -> None:
    for name, workers in (("one", 1), ("three", 3)):
        arguments = ("--level", "decode", "--report", tmp_path / name / "r.jsonl")
        assert command("validate", folder, *arguments, "--workers", workers)[0] == 1
    for file in ("r.jsonl", "r_summary.json"):
        one, three = (tmp_path / name / file for name in ("one", "three"))
        assert one.read_bytes() == three.read_bytes()


def test_the_report_has_shards_as_given_and_defects_by_place(folder, tmp_path, capsys) -> None:
    names = [str(folder / f"0000{number}.tar") for number in (2, 1, 0)]
    report = tmp_path / "r.jsonl"
    validate(Validate(shards=names, level="members", report=report, executor="serial"))
    found = lines(report)
    assert list(dict.fromkeys(line["shard"] for line in found)) == [names[0], names[1], names[2]]
    for name in names:
        places = [line["offset"] for line in found if line["shard"] == name]
        assert places == sorted(places)
    assert {"shard", "key", "code", "detail", "offset", "severity"} == set(found[0])
    summary = json.loads((tmp_path / "r_summary.json").read_text())
    assert summary["shards"] == 3
    assert summary["errors"] == sum(line["severity"] == "error" for line in found)
    assert summary["warnings"] == len(found) - summary["errors"]
    assert summary["codes"]["CAPTION_EMPTY"] == {"severity": "error", "defects": 4, "shards": 1}
    assert found[-1]["code"] == "DUPLICATE_KEY_ACROSS"
    assert found[-1]["detail"] == "also in 00002.tar"


def test_errors_up_to_a_limit_are_a_success(folder, command) -> None:
    shard = folder / "00002.tar"
    for most, wanted in ((3, 1), (4, 0)):
        code, out, _ = command("validate", shard, "--level", "members", "--max-bad", most)
        assert code == wanted
        assert "4 errors, 4 warnings" in out  # and the records have captions


def test_warnings_alone_are_a_success(tmp_path, command) -> None:
    (tmp_path / "0.tar").write_bytes(tar(*GOOD, [("._x.jpg", b"")]))
    code, out, _ = command("validate", tmp_path / "0.tar")
    assert code == 0
    assert "warning: NAME_HIDDEN" in out


def test_the_first_defects_are_printed_and_none_is_hidden_by_many(tmp_path, command) -> None:
    many = [sample(number, txt=b"", json=b"{}") for number in range(30)]
    (tmp_path / "0.tar").write_bytes(tar(*many, sample(31, jpg=jpeg(1)[:40])))
    _, out, _ = command("validate", tmp_path / "0.tar", "--level", "members")
    assert out.count("error: CAPTION_EMPTY") == 4
    assert out.count("error: IMAGE_UNREADABLE") == 1
    assert "and 26 more; --report FILE writes them all" in out


def test_keys_are_compared_within_a_folder(tmp_path, command) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000.tar").write_bytes(WHOLE)
    assert command("validate", tmp_path / "train", tmp_path / "test")[0] == 0
    shutil.copy(tmp_path / "train" / "00000.tar", tmp_path / "train" / "00001.tar")
    code, out, _ = command("validate", tmp_path / "train", tmp_path / "test")
    assert code == 1
    assert "DUPLICATE_KEY_ACROSS          4 in 1 shard" in out
    for part in ("1/2", "2/2"):
        code, out, _ = command("validate", tmp_path / "train", "--part", part)
        assert code == 0
        assert f"part {part}: keys were compared within this part alone" in out


def test_changes_of_bytes_alone_are_found_by_what_lies_beside(tmp_path, capsys) -> None:
    path = tmp_path / "shards" / "00000.tar"
    path.parent.mkdir()
    path.write_bytes(WHOLE)
    write_index(path)
    stats = {"successes": 4, "bytes": len(WHOLE), "sha256": "0" * 64}
    path.with_name("00000_stats.json").write_text(json.dumps(stats))
    path.write_bytes(WHOLE.replace(b"a photo of 2 dogs", b"a photo of 2 cats"))
    assert codes(capsys, path) == (0, set())
    assert codes(capsys, path, level="members") == (1, {"INDEX_STALE", "STATS_MISMATCH"})


def test_dots_in_folders_and_further_fields_are_no_defect(tmp_path, capsys) -> None:
    path = tmp_path / "shards" / "00000.tar"
    path.parent.mkdir()
    data = jpeg(1)
    names = [f"./www.example.com/{number}.{end}" for number in range(3) for end in ("jpg", "txt")]
    more = [("x.jpg", data), ("x.seg.png", data), ("x.txt", b"a dog")]
    path.write_bytes(tar([(name, data if name.endswith("jpg") else b"a") for name in names], more))
    assert codes(capsys, path) == (0, set())


def test_a_shard_whose_check_fails_is_an_error(folder, capsys, monkeypatch) -> None:
    def fail(job: object) -> None:
        raise UnreadableImageError("its worker was killed 3 times (out of memory?)")

    monkeypatch.setattr("data_tools.validate.check_shard", fail)
    assert codes(capsys, folder / "00000.tar") == (1, {"FILE_UNREADABLE"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--level", "all"], "headers"),
        (["--max-bad", "-1"], "--max-bad -1"),
        (["--max-pixels", "0"], "--max-pixels 0"),
        (["--max-caption", "0"], "--max-caption 0"),
        (["--report", "shards/report.jsonl"], "nothing is written among the shards"),
        (["--report", "."], "is a folder"),
    ],
)
def test_bad_options_are_named(folder, command, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(folder.parent)
    before = sorted(os.listdir(folder))
    code, _, err = command("validate", "shards", *arguments)
    assert code == 2
    assert message in err
    assert sorted(os.listdir(folder)) == before


def test_the_help_names_every_option(command) -> None:
    code, out, _ = command("validate", "--help")
    assert code == 0
    for option in ("level", "report", "max-bad", "max-pixels", "max-caption", "workers", "part"):
        assert f"--{option}" in out


def test_the_table_of_codes_has_a_row_each() -> None:
    rows = as_markdown().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(CODES)
    assert all(code.meaning and code.repair for code in CODES.values())


@pytest.mark.skipif(not (REAL / "flickr8k").is_dir(), reason="the flickr8k shards are not here")
def test_real_shards_are_clean(command) -> None:
    code, out, _ = command("validate", *(REAL / "flickr8k").iterdir(), "--workers", 1)
    assert code == 0
    assert "8,091 samples" in out
    assert "0 errors, 0 warnings" in out


def test_what_a_tar_holds_does_not_steer_the_terminal(tmp_path, command) -> None:
    names = [("a\x1b[31m.jpg", jpeg(1)), ("b.jpg\x1b[2J", jpeg(1))]
    (tmp_path / "0.tar").write_bytes(tar(*GOOD, names))
    code, out, _ = command("validate", tmp_path / "0.tar")
    assert code == 1
    assert "NAME_CONTROL" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("place", ["file/report.jsonl", "/proc/report.jsonl"])
def test_a_report_that_cannot_be_written_is_refused_first(tmp_path, command, place) -> None:
    (tmp_path / "a.tar").write_bytes(tar(*GOOD))
    (tmp_path / "file").touch()
    code, out, err = command("validate", tmp_path / "a.tar", "--report", tmp_path / place)
    assert (code, out) == (2, "")
    assert "cannot be written there" in err


def test_a_shard_that_vanishes_during_the_run_is_in_the_report(folder, command, monkeypatch):
    twice = folder.parent / "twice"
    twice.mkdir()
    for name in "ab":
        (twice / f"{name}.tar").write_bytes(tar(*GOOD))

    def find(*arguments):
        raise FileNotFoundError(2, "No such file or directory", "b.tar")

    monkeypatch.setattr("data_tools.defects.across.find_keys", find)
    code, out, _ = command("validate", twice, "--executor", "serial")
    assert code == 1
    assert "FILE_UNREADABLE" in out


def test_a_folder_of_folders_is_told_how_to_be_given(folder, command) -> None:
    code, _, err = command("validate", folder.parent)
    assert code == 2
    assert f"those of its folders are '{folder.parent}/*'" in err


def test_the_documentation_has_the_table_of_codes():
    text = (Path(__file__).parents[2] / "docs" / "data_tools.md").read_text(encoding="utf-8")
    assert as_markdown().strip() in text
