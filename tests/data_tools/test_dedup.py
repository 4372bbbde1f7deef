"""What `dedup` keeps, drops and writes, as its user sees it."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_tools.annotate import read_sidecar
from data_tools.samples import open_index
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import files
from vlp.data.index import sidecar_path, write_index
from vlp.data.tar import write_tar


def shards(folder, *parts):
    """Indexed shards of (key, picture, caption); captions may be several."""
    folder.mkdir()
    for number, part in enumerate(parts):
        samples = []
        for key, picture, *captions in part:
            record = {"captions": captions, "width": len(key)}
            members = {"txt": captions[0].encode(), "json": json.dumps(record).encode()}
            samples.append((key, ({} if picture is None else {"jpg": picture}) | members))
        write_tar(folder / f"{number:05d}.tar", samples)
        write_index(folder / f"{number:05d}.tar")
    return folder


def verdicts(folder, name="keep-dedup"):
    """{key: (rule, value)} of all shards; ("", "") for kept ones."""
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        for row in read_sidecar(shard, name).to_pylist():
            assert row["keep"] == (row["rule"] is None)
            found[row["key"]] = (row["rule"] or "", row["value"] or "")
    return found


def dropped(folder, name="keep-dedup"):
    return {key: verdict for key, verdict in verdicts(folder, name).items() if verdict[0]}


def embed(shard, rows, name="embeddings", settings=None):
    """Write embeddings by hand; None for an unreadable picture."""
    table = open_index(shard).table.select(["key", "src_sha256"])
    vectors = pa.array(rows, pa.list_(pa.float16(), 4))
    path = sidecar_path(shard, name)
    path.parent.mkdir(exist_ok=True)
    table = table.append_column("image", vectors)
    mark = {"vlp_recipe": json.dumps({"model": "m", "captions": "first"} | (settings or {}))}
    pq.write_table(table.replace_schema_metadata(mark), path)


def score(shard, values):
    table = open_index(shard).table.select(["key", "src_sha256"])
    path = sidecar_path(shard, "scores")
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table.append_column("clip_score", pa.array(values, pa.float32())), path)


@pytest.fixture
def data(tmp_path):
    """a = d (by bytes), e is f encoded again; c is cut."""
    again = io.BytesIO()
    big = jpeg(5, (64, 64))
    Image.open(io.BytesIO(big)).save(again, "JPEG", quality=97)
    return shards(
        tmp_path / "data",
        [("a", jpeg(1), "one"), ("b", jpeg(2), "two"), ("c", jpeg(3)[:100], "three")],
        [("d", jpeg(1), "another"), ("e", big, "five"), ("f", again.getvalue(), "six")],
    )


def test_equal_bytes_are_one_picture_whatever_stands_beside_them(command, data):
    code, out, _ = command("dedup", data, "--by", "exact", "--workers", 1)
    assert code == 0
    assert "6 samples = 5 kept + 1 duplicate-exact" in out
    assert dropped(data) == {"d": ("duplicate-exact", "a")}


def test_equal_looks_are_one_picture(command, data):
    code, out, _ = command("dedup", data, "--by", "phash", "--workers", 1)
    assert code == 0
    assert "6 samples = 3 kept + 2 duplicate-phash + 1 unreadable" in out
    assert dropped(data) == {
        "c": ("unreadable", ""),
        "d": ("duplicate-phash", "a"),
        "f": ("duplicate-phash", "e"),
    }


def test_the_better_one_stays(command, data):
    score(data / "00000.tar", [0.1, 0.2, None])
    score(data / "00001.tar", [0.3, None, -0.5])
    command("dedup", data, "--by", "phash", "--workers", 1, "--prefer", "scores")
    assert dropped(data) == {
        "a": ("duplicate-phash", "d"),
        "c": ("unreadable", ""),
        "e": ("duplicate-phash", "f"),
    }


def test_the_shard_named_first_is_preferred(command, data):
    arguments = [data / "00001.tar", data / "00000.tar", "--by", "exact", "--workers", 1]
    command("dedup", *arguments)
    assert dropped(data) == {"a": ("duplicate-exact", "d")}


def test_groups_tell_who_went_for_whom(command, data, tmp_path):
    path = tmp_path / "groups.jsonl"
    command("dedup", data, "--by", "phash", "--workers", 1, "--groups", path)
    groups = [json.loads(line) for line in path.read_text().splitlines()]
    assert [group["keeper"]["key"] for group in groups] == ["a", "e"]
    assert [[m["key"] for m in group["members"]] for group in groups] == [["d"], ["f"]]
    assert groups[0]["members"][0]["distance"] == 0
    assert groups[0]["members"][0]["shard"] == str(data / "00001.tar")
    path.unlink()
    code, out, _ = command("dedup", data, "--by", "phash", "--workers", 1, "--groups", path)
    assert code == 0
    assert "2 groups" in out
    assert len(path.read_text().splitlines()) == 2


def test_pictures_of_evaluation_sets_are_dropped(command, data, tmp_path):
    """A folder of pictures, and tars without index in CLIP_benchmark's layout."""
    (tmp_path / "eval" / "deep").mkdir(parents=True)
    (tmp_path / "eval" / "deep" / "x.jpg").write_bytes(jpeg(2))
    (tmp_path / "eval" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "wds" / "test").mkdir(parents=True)
    write_tar(tmp_path / "wds" / "test" / "0.tar", [("s0", {"jpg": jpeg(1), "cls": b"3"})])
    arguments = ["--against", tmp_path / "eval", tmp_path / "wds", "--workers", 1]
    code, out, _ = command("dedup", data, "--by", "phash", *arguments)
    assert code == 0
    assert "against 2 pictures (1 more are unreadable)" in out
    assert "6 samples = 1 kept + 3 contaminated-phash + 1 duplicate-phash + 1 unreadable" in out
    found = dropped(data)
    assert found["b"] == ("contaminated-phash", str(tmp_path / "eval" / "deep" / "x.jpg"))
    assert found["a"] == found["d"] == ("contaminated-phash", f"{tmp_path}/wds/test/0.tar:s0")
    arguments += ["--only-against", "--name", "keep-eval"]
    command("dedup", data, "--by", "exact", *arguments[:-2], "--name", "keep-eval")
    assert set(dropped(data, "keep-eval")) == {"a", "b", "d"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "nothing\nTwo,  MEN!\n"),
        ("a.json", '[{"image_url": "two men", "text": "two men.", "number": 2}]'),
        ("a.json", '["Two men"]'),
        ("a.json", '{"images": [{"sentences": [{"raw": "two men"}]}]}'),
        ("a.jsonl", '{"captions": ["x", "two men"]}\n'),
        ("a.csv", 'id,caption\n1,"Two men"\n'),
    ],
)
def test_captions_of_evaluation_sets_are_dropped(command, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    data = shards(
        tmp_path / "data",
        [("a", jpeg(1), "two men", "x"), ("b", jpeg(2), "y", "TWO men"), ("c", jpeg(3), "two")],
    )
    arguments = ["--captions", tmp_path / name, "--workers", 1]
    code, out, _ = command("dedup", data, "--by", "exact", *arguments)
    assert code == 0
    assert "3 samples = 1 kept + 2 contaminated-caption" in out
    assert set(dropped(data)) == {"a", "b"}
    assert dropped(data)["a"][1].startswith(str(tmp_path / name))


def test_planted_embeddings_are_found_in_any_number_of_clusters(command, tmp_path):
    rng = np.random.default_rng(0)
    base = rng.normal(size=(20, 4))
    twins = base[:5] + 0.001 * rng.normal(size=(5, 4))
    parts = [[(f"{s}{i:02d}", jpeg(s), "x") for i in range(n)] for s, n in enumerate((20, 6))]
    data = shards(tmp_path / "data", *parts)
    embed(data / "00000.tar", list(base))
    embed(data / "00001.tar", [*twins, None])
    arguments = ["--by", "semantic", "--epsilon", 0.0005, "--workers", 1]
    for clusters in (1, 3):
        name = f"keep-{clusters}"
        code, _, _ = command("dedup", data, *arguments, "--clusters", clusters, "--name", name)
        assert code == 0
        found = dropped(data, name)
        assert found.pop("105") == ("unreadable", "")
        assert found == {f"1{i:02d}": ("duplicate-semantic", f"0{i:02d}") for i in range(5)}
    test = shards(tmp_path / "test", [("t", jpeg(9), "x")])
    embed(test / "00000.tar", [list(base[7])], settings={"captions": "all"})
    code, _, _ = command("dedup", data, *arguments, "--name", "keep-t", "--against", test)
    assert code == 0
    assert dropped(data, "keep-t")["007"] == ("contaminated-semantic", f"{test}/00000.tar:t")
    embed(test / "00000.tar", [list(base[7])], settings={"model": "another"})
    code, _, err = command("dedup", data, *arguments, "--name", "keep-u", "--against", test)
    assert code == 2
    assert "same model" in err


def test_parts_wait_for_one_another(command, data, tmp_path):
    command("dedup", data, "--by", "phash", "--workers", 1)
    whole = files(data)
    for path in (data / "annotations").rglob("*.parquet"):
        if path.parent.name != "index":
            path.unlink()
    arguments = [data, "--by", "phash", "--workers", 1, "--part"]
    code, out, _ = command("dedup", *arguments, "2/2")
    assert code == 0
    assert "1 of 2 shards are still to be hashed" in out
    assert not (data / "annotations" / "keep-dedup" / "00001.parquet").exists()
    command("dedup", *arguments, "1/2")
    assert files(data) == whole


def test_another_distance_needs_no_second_pass_but_a_word(command, data):
    command("dedup", data, "--by", "phash", "--workers", 1)
    hidden = data / "annotations" / "keep-dedup" / ".phash" / "00000.parquet"
    time = hidden.stat().st_mtime_ns
    arguments = ["--by", "phash", "--workers", 1, "--distance", 0]
    code, _, err = command("dedup", data, *arguments)
    assert code == 2
    assert "distance was 4, is 0" in err
    assert command("dedup", data, *arguments, "--restart")[0] == 0
    assert hidden.stat().st_mtime_ns == time


def test_further_shards_are_told_apart_from_what_was_judged(command, data):
    command("dedup", data / "00000.tar", "--by", "exact", "--workers", 1)
    code, _, err = command("dedup", data, "--by", "exact", "--workers", 1)
    assert code == 2
    assert "samples was 3, is 6" in err


def test_what_has_changed_since_is_named(command, data, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(100))
    (tmp_path / "b.jpg").write_bytes(jpeg(101))
    for name, expected in (("a.jpg", 0), ("b.jpg", 2)):
        arguments = ["--by", "exact", "--against", tmp_path / name, "--workers", 1]
        code, _, err = command("dedup", data, *arguments)
        assert code == expected
    assert "made otherwise: against was" in err
    assert ", is " in err
    assert "; give the old settings" in err.split("against was")[1]


def test_what_misses_is_named(command, data, tmp_path):
    code, _, err = command("dedup", data, "--by", "semantic", "--workers", 1)
    assert code == 2
    assert "--embeddings embeddings" in err
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["--by", "exact", "--against", tmp_path / "empty"], "neither tars nor pictures"),
        (["--by", "exact", "--captions", tmp_path / "empty"], "no caption found"),
        (["--by", "exact", "--captions", tmp_path / "none"], "no such file"),
        (["--by", "exact", "--distance", 3], "--distance: belongs to --by phash"),
        (["--by", "phash", "--epsilon", 0.1], "--epsilon: belongs to --by semantic"),
        (["--by", "phash", "--distance", 40], "--distance 40"),
        (["--by", "semantic", "--epsilon", 2], "--epsilon 2"),
        (["--by", "semantic", "--clusters", 0], "--clusters 0"),
        (["--by", "exact", "--name", "mine"], "keep-SUFFIX"),
        (["--by", "exact", "--only-against"], "--only-against: give --against"),
        (["--by", "exact", "--prefer", "scores"], "scores"),
    ):
        code, _, err = command("dedup", data, *arguments, "--workers", 1)
        assert code == 2, arguments
        assert message in err


def test_stale_embeddings_are_not_used(command, tmp_path):
    data = shards(tmp_path / "data", [("a", jpeg(1), "x"), ("b", jpeg(2), "x")])
    embed(data / "00000.tar", [[1, 0, 0, 0], [0, 1, 0, 0]])
    write_tar(data / "00000.tar", [("a", {"jpg": jpeg(1), "txt": b"new"})])
    write_index(data / "00000.tar")
    code, _, err = command("dedup", data, "--by", "semantic", "--workers", 1)
    assert code == 2
    assert "run `score` again" in err


def test_a_damaged_evaluation_set_stops_the_run(command, data, tmp_path):
    (tmp_path / "wds").mkdir()
    (tmp_path / "wds" / "0.tar").write_bytes(b"no tar")
    arguments = ["--against", tmp_path / "wds", "--workers", 1]
    code, _, err = command("dedup", data, "--by", "exact", *arguments)
    assert code == 1
    assert "0.tar" in err
    assert not (data / "annotations" / "keep-dedup" / "00000.parquet").exists()


def test_shards_without_readable_pictures(command, tmp_path):
    data = shards(tmp_path / "data", [("a", None, "x")], [])
    code, out, _ = command("dedup", data, "--by", "phash", "--workers", 1)
    assert code == 0
    assert "1 samples = 0 kept + 1 unreadable" in out
