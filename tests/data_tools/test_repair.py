"""`repair`: what is good stays byte for byte, what is not is named, and the result is clean."""

import gzip
import json
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_tools.defects import mending
from data_tools.defects.codes import CODES
from data_tools.repair import Repair, repair
from tests.data_tools.conftest import jpeg
from tests.data_tools.test_validate_cases import CASES, DECODE, codes, header_of, sample, tar
from tests.data_tools.trees import files, rows, samples
from vlp.errors import RunError

SAMPLES = [sample(number) for number in range(5)]
WHOLE = tar(*SAMPLES)
STARTS = [header_of(WHOLE, f"{number:09d}.jpg") for number in range(5)]
ENDS = [*STARTS[1:], len(WHOLE.rstrip(b"\0"))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shards"
    made.mkdir()
    return made


def mended(folder: Path, **options: object) -> Path:
    """The output of a repair of a folder."""
    output = folder.parent / "out"
    repair(Repair(shards=[str(folder)], output=output, executor="serial", **options))
    return output


def ledger(output: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (output / "repair.jsonl").read_text().splitlines()]


def named(key: str, **more: bytes) -> list[tuple[str, bytes]]:
    return [(f"{key}.{end}", data) for end, data in ({"jpg": jpeg(9), "txt": b"a"} | more).items()]


# DUPLICATE_KEY_ACROSS is left to whoever knows which shard is meant
@pytest.mark.parametrize(
    ("code", "make"),
    [case[1:3] for case in CASES if case[1] != "DUPLICATE_KEY_ACROSS"],
    ids=[f"{case[0]}-{case[1]}" for case in CASES if case[1] != "DUPLICATE_KEY_ACROSS"],
)
def test_what_is_left_of_every_defect_is_clean(folder, capsys, code, make) -> None:
    make(folder)
    try:
        output = mended(folder)
    except RunError:  # not one sample is left
        output = folder.parent / "out"
    exit_code, found = codes(capsys, *sorted(output.glob("*.tar")), level=DECODE)
    assert exit_code == 0, found
    assert all(CODES[name].severity == "warning" for name in found)


def damage(data: st.DataObject) -> tuple[bytes, list[tuple[int, int]]]:
    """A damaged tar, and the places of the whole one that were touched."""
    broken, touched = bytearray(WHOLE), list[tuple[int, int]]()
    for _ in range(data.draw(st.integers(0, 2))):
        block = data.draw(st.integers(0, len(WHOLE) // 512 - 1)) * 512
        blocks = data.draw(st.integers(1, 3))
        flips = data.draw(st.sampled_from([None, 0xFF, 0x01, 0x55]))
        for place in range(block, min(block + 512 * blocks, len(WHOLE))):
            broken[place] = 0 if flips is None else broken[place] ^ flips
        touched.append((block, block + 512 * blocks))
    how = data.draw(st.sampled_from(["whole", "cut", "lost", "inserted"]))
    start = data.draw(st.integers(0, len(WHOLE)))
    if how == "cut":
        del broken[start:]
        touched.append((start, len(WHOLE)))
    elif how == "lost":
        length = data.draw(st.one_of(st.integers(1, 2000), st.sampled_from([512, 1024, 1536])))
        del broken[start : start + length]
        touched.append((start, start + length))
    elif how == "inserted":
        broken[start:start] = data.draw(st.binary(max_size=700))
        touched.append((start - 1, start + 1))
    return bytes(broken), touched


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_what_damage_did_not_touch_is_kept_and_the_rest_is_clean(
    tmp_path_factory, capsys, data
) -> None:
    folder = tmp_path_factory.mktemp("damage") / "shards"
    folder.mkdir()
    broken, touched = damage(data)
    (folder / "00000.tar").write_bytes(broken)
    try:
        output = mended(folder)
    except RunError:
        output = folder.parent / "out"
    assert codes(capsys, output / "00000.tar", level=DECODE)[0] == 0
    found = samples(output / "00000.tar")
    for number, (start, end) in enumerate(zip(STARTS, ENDS, strict=True)):
        if all(last <= start or first >= end for first, last in touched):
            wanted = {name.partition(".")[2]: content for name, content in SAMPLES[number]}
            assert found[f"{number:09d}"] == wanted


def test_everything_found_is_kept_or_named(folder, tmp_path, command) -> None:
    broken = bytearray(tar(*SAMPLES[:2], [("._x.jpg", b"x")], SAMPLES[2], SAMPLES[0]))
    at = header_of(bytes(broken), "000000001.json")
    broken[at + 148 : at + 156] = bytes(8)
    (folder / "00000.tar").write_bytes(bytes(broken))
    code, out, _ = command("repair", folder, "--output", tmp_path / "out")
    assert code == 0
    assert "3 samples = 3 kept" in out
    # 4 x 3 + 1, less the member whose header is damaged
    assert "12 members = 8 kept + 3 dropped (DUPLICATE_KEY) + 1 dropped (NAME_HIDDEN)" in out
    assert "bytes = " in out
    dropped = [line for line in ledger(tmp_path / "out") if line["action"] == "dropped"]
    assert [line["member"] for line in dropped] == [
        "._x.jpg",
        "000000000.jpg",
        "000000000.json",
        "000000000.txt",
    ]
    skipped = [line for line in ledger(tmp_path / "out") if line["action"] == "skipped"]
    assert [(line["code"], line["offset"]) for line in skipped] == [("TAR_BAD_CHECKSUM", at)]
    assert skipped[0]["bytes"] == 1024


def test_names_are_mended_and_never_taken_for_paths(folder, tmp_path) -> None:
    members = [
        named("/etc/passwd"),
        named("../../up"),
        named("a.v2"),
        named("a_v2"),
        named("caf\udce9"),
        [("B.JPG", jpeg(3)), ("B.txt", b"b")],
    ]
    (folder / "0.tar").write_bytes(tar(*members))
    before = set(tmp_path.parent.iterdir())
    output = mended(folder)
    assert list(samples(output / "0.tar")) == ["etc/passwd", "up", "a_v2_2", "a_v2", "caf_", "B"]
    assert samples(output / "0.tar")["B"] == {"jpg": jpeg(3), "txt": b"b"}
    assert set(tmp_path.parent.iterdir()) == before
    told = {(line["member"], line["written"], line["code"]) for line in ledger(output)}
    assert ("a.v2.jpg", "a_v2_2.jpg", "KEY_DOTTED") in told
    assert ("B.JPG", "B.jpg", "NAME_UPPER_CASE") in told
    assert ("/etc/passwd.txt", "etc/passwd.txt", "NAME_ABSOLUTE") in told


def test_another_sample_of_the_same_key_is_never_mixed_in(folder) -> None:
    first = [("a.jpg", jpeg(1))]
    second = [("a.jpg", jpeg(2)), ("a.txt", b"of the second")]
    (folder / "0.tar").write_bytes(tar(first, named("b"), second, named("c")))
    assert list(samples(mended(folder) / "0.tar")) == ["b", "c"]


def test_members_apart_are_put_together(folder) -> None:
    one, two = named("a"), named("b")
    (folder / "0.tar").write_bytes(tar([one[0], two[0], one[1], two[1]]))
    found = samples(mended(folder) / "0.tar")
    assert found == {"a": {"jpg": jpeg(9), "txt": b"a"}, "b": {"jpg": jpeg(9), "txt": b"a"}}


def test_a_picture_gets_the_extension_of_its_content(folder) -> None:
    make = next(case[2] for case in CASES if case[1] == "IMAGE_WRONG_EXTENSION")
    make(folder)
    assert "webp" in samples(mended(folder) / "00000.tar")["000000007"]


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (b"caf\xe9 \x93ol\xe9\x94", "café “olé”", "CAPTION_NOT_UTF8"),
        ("naïve".encode("utf-16"), "naïve", "CAPTION_NOT_UTF8"),
        (b"\xef\xbb\xbfa dog", "a dog", "CAPTION_BOM"),
        (b"a\0 dog\0", "a dog", "CAPTION_NUL"),
        (b"salt &amp;amp; pepper &#233;", "salt & pepper é", "CAPTION_HTML_ENTITY"),
        ("cafe\u0301".encode(), "café", "CAPTION_NOT_NFC"),
    ],
)
def test_texts_are_mended_on_request_and_each_is_recorded(folder, before, after, code) -> None:
    record = json.dumps({"captions": ["x &amp; y", "fine"]}).encode()
    (folder / "0.tar").write_bytes(tar(named("a", txt=before, json=record), named("b")))
    output = mended(folder, fix_text=True)
    found = samples(output / "0.tar")["a"]
    assert found["txt"].decode() == after
    assert json.loads(found["json"])["captions"] == ["x & y", "fine"]
    fixed = [line for line in ledger(output) if line["action"] == "fixed"]
    assert (code, "a.txt") in {(line["code"], line["member"]) for line in fixed}
    assert ("CAPTION_HTML_ENTITY", "a.json") in {(x["code"], x["member"]) for x in fixed}


def test_texts_are_kept_as_they_are_without_the_request(folder) -> None:
    bad, mild = named("a", txt=b"caf\xe9"), named("b", txt=b"\xef\xbb\xbfa &amp; b")
    (folder / "0.tar").write_bytes(tar(bad, mild))
    output = mended(folder)
    assert samples(output / "0.tar") == {"b": {"jpg": jpeg(9), "txt": b"\xef\xbb\xbfa &amp; b"}}
    assert {line["code"] for line in ledger(output)} == {"CAPTION_NOT_UTF8"}


def test_the_table_beside_a_shard_follows(folder) -> None:
    bad = named("b", jpg=b"<html>")
    (folder / "0.tar").write_bytes(tar(named("a.x"), bad, named("c")))
    table = pa.table(
        {
            "key": ["a.x", "b", "lost", "never"],
            "status": ["success", "success", "success", "failed_to_download"],
            "error_message": [None, None, None, "404"],
            "url": list("1234"),
        }
    )
    pq.write_table(table, folder / "0.parquet")
    found = rows(mended(folder) / "0.tar")
    assert [(row["key"], row["status"], row["error_message"]) for row in found] == [
        ("a_x", "success", None),
        ("b", "dropped_by_repair", "IMAGE_NOT_A_PICTURE"),
        ("lost", "dropped_by_repair", "not in the tar"),
        ("never", "failed_to_download", "404"),
        ("c", "success", None),
    ]


def test_a_tar_that_was_packed_is_unpacked_as_far_as_it_goes(folder) -> None:
    packed = gzip.compress(tar(*map(sample, range(40))), 0)
    (folder / "0.tar").write_bytes(packed[: len(packed) // 2])
    found = samples(mended(folder) / "0.tar")
    assert 15 <= len(found) < 40
    assert sorted(path.name for path in (folder.parent / "out").glob(".*")) == []


def many(folder: Path) -> Path:
    for number in range(4):
        data = bytearray(tar(*map(sample, range(number * 4, number * 4 + 4))))
        data[header_of(bytes(data), f"{number * 4 + 1:09d}.jpg") + 150] ^= 1
        (folder / f"0000{number}.tar").write_bytes(bytes(data))
    return folder


def test_bytes_do_not_depend_on_workers_or_parts(folder, tmp_path, command) -> None:
    many(folder)
    for name, runs in {
        "one": [("--workers", 1)],
        "two": [("--workers", 2)],
        "parts": [("--part", "2/2", "--workers", 1), ("--part", "1/2", "--workers", 1)],
    }.items():
        for arguments in runs:
            assert command("repair", folder, "--output", tmp_path / name, *arguments)[0] == 0
    one = files(tmp_path / "one")
    assert one == files(tmp_path / "two")
    assert one == files(tmp_path / "parts")


@pytest.mark.parametrize("step", ["write_index", "_write_table", "_write_mark"])
def test_a_killed_repair_goes_on_to_the_same_bytes(folder, monkeypatch, capsys, step) -> None:
    many(folder)
    whole = files(mended(folder))
    real: Callable[..., object] = getattr(mending, step)
    calls = []

    def killed(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    output = folder.parent / "again"
    options = Repair(shards=[str(folder)], output=output, executor="serial")
    monkeypatch.setattr(mending, step, killed)
    with pytest.raises(KeyboardInterrupt):
        repair(options)
    process = subprocess.Popen(["true"])
    process.wait()
    left = output / f".00002.tar.{platform.node()}.{process.pid}.tmp"
    left.write_bytes(b"half")
    monkeypatch.setattr(mending, step, real)
    capsys.readouterr()
    repair(options)
    assert "2 of 4 shards are finished already" in capsys.readouterr().out
    assert files(output) == whole


def test_a_changed_source_is_repaired_again(folder, command) -> None:
    many(folder)
    arguments = ("repair", folder, "--output", folder.parent / "out")
    command(*arguments)
    (folder / "00001.tar").write_bytes(tar(*map(sample, range(4, 8))))
    code, out, _ = command(*arguments)
    assert code == 0
    assert "3 of 4 shards are finished already" in out
    assert len(samples(folder.parent / "out" / "00001.tar")) == 4


def test_other_settings_are_refused_by_name(folder, command) -> None:
    (folder / "0.tar").write_bytes(WHOLE)
    arguments = ("repair", folder, "--output", folder.parent / "out", "--workers", 1)
    assert command(*arguments)[0] == 0
    code, _, err = command(*arguments, "--fix-text")
    assert code == 2
    assert "fix_text was False, is True" in err
    assert command(*arguments, "--fix-text", "--restart")[0] == 0


def test_no_source_and_no_other_data_is_written_over(folder, tmp_path, command) -> None:
    (folder / "0.tar").write_bytes(WHOLE)
    code, _, err = command("repair", folder, "--output", folder)
    assert code == 2
    assert "the shards lie there" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.md").write_text("mine")
    code, _, err = command("repair", folder, "--output", tmp_path / "mine")
    assert code == 2
    assert "holds notes.md" in err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0.tar").write_bytes(WHOLE)
    code, _, err = command("repair", folder, tmp_path / "other", "--output", tmp_path / "out")
    assert code == 2
    assert "both become" in err
    assert files(folder) == {"0.tar": WHOLE}


def test_nothing_kept_is_a_failure(folder, command) -> None:
    (folder / "0.tar").write_bytes(b"<html>" * 200)
    code, _, err = command("repair", folder, "--output", folder.parent / "out", "--workers", 1)
    assert code == 1
    assert "not one sample could be kept" in err
