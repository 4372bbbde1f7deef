"""`counts`: every caption is accounted for, verified captions become the sidecar of the loader."""

import json
import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.annotate import read_sidecar
from data_tools.counts import Counts, counts
from tests.data_tools.trees import files
from vlp.data.index import caption_sha256, sidecar_path, write_index
from vlp.data.numbers import NUMBERS, find_numbers
from vlp.data.sidecars import Sidecars
from vlp.data.tar import write_tar
from vlp.errors import InputError

# captions of a sample, what its picture shows
SAMPLES = [
    (["Two dogs run"], {"dog": 2}),
    (["THREE PUPPIES on grass"], {"dog": 3, "person": 5}),
    (["a dog"], {"dog": 1}),
    (["two cats"], {"cat": 3}),
    (["a boy of two years old"], {"person": 2}),
    (["two dogs and three cats"], {"dog": 2, "cat": 3}),
    (["a small set", "five men in a boat", "five people"], {"person": 5}),
    (["a picture of two towers"], {"person": 2}),
    (["four dogs"], None),
    (["two dogs at the sea"], {"dog": 2}),
    (["six people", "six women"], {"person": 6}),
    (["two women talk"], {"person": 2}),
]


def write_samples(folder, samples=SAMPLES, per_shard=5):
    """Shards, and `boxes.jsonl` beside them with what the pictures show."""
    shards = folder / "shards"
    shards.mkdir(parents=True)
    lines = []
    for start in range(0, len(samples), per_shard):
        own = []
        for place, (captions, shown) in enumerate(samples[start : start + per_shard]):
            key = f"{start // per_shard:05d}{place:04d}"
            url = f"photos/{start + place}.jpg"
            record = {"url": url, "captions": captions, "key": key}
            members = {"jpg": b"-", "json": json.dumps(record).encode()}
            own.append((key, members | {"txt": captions[0].encode()}))
            boxes = [
                {"category": label, "bbox": [20 * i, 0, 10, 10]}
                for label, count in (shown or {}).items()
                for i in range(count)
            ]
            if shown is not None:
                lines.append(json.dumps({"image": url, "objects": boxes}))
        path = shards / f"{start // per_shard:05d}.tar"
        write_tar(path, own)
        write_index(path)
    (folder / "boxes.jsonl").write_text("\n".join(lines) + "\n")
    return shards


@pytest.fixture
def shards(tmp_path):
    return write_samples(tmp_path)


def run(shards, **options):
    """The command with the boxes beside the shards, unless told otherwise."""
    if not options.keys() & {"boxes", "detector", "unverified"}:
        options["boxes"] = str(shards.parent / "boxes.jsonl")
    if "boxes" in options and "unverified" not in options:
        options.setdefault("unmapped", "any-class")
    counts(Counts(shards=[str(shards)], **({"workers": 1} | options)))


def rows(shards, name="counts"):
    return [
        row for tar in sorted(shards.glob("*.tar")) for row in read_sidecar(tar, name).to_pylist()
    ]


def test_verified_captions_become_rows(shards):
    run(shards)
    found = rows(shards)
    assert [(row["key"], row["count"], row["noun"], row["rule"]) for row in found] == [
        ("000000000", 2, "dogs", "class"),
        ("000000001", 3, "PUPPIES", "class"),
        ("000010002", 2, "towers", "any-class"),
        ("000010004", 2, "dogs", "class"),
        ("000020000", 6, "people", "class"),
        ("000020001", 2, "women", "class"),
    ]
    run(shards, name="counts-strict", unmapped="reject")
    assert [row for row in found if row["rule"] == "class"] == rows(shards, "counts-strict")
    texts = {f"{i // 5:05d}{i % 5:04d}": captions[0] for i, (captions, _) in enumerate(SAMPLES)}
    for row in found:
        text = texts[row["key"]]
        assert row["src_sha256"] == caption_sha256(text.encode())
        assert (row["count_low"], row["count_high"]) == (row["count"], row["count"])
        number = text[row["start"] : row["end"]]
        assert number.lower() == NUMBERS[row["count"]]
        (wrong,) = find_numbers(row["counterfactual"])
        assert wrong.count != row["count"]
        changed = row["counterfactual"][wrong.start : wrong.end]
        assert row["counterfactual"] == text[: row["start"]] + changed + text[row["end"] :]
        assert changed.isupper() == number.isupper()


def test_every_caption_is_accounted_for_and_named(shards, capsys):
    run(shards, ledger=shards.parent / "ledger.jsonl", balance=2)
    out = capsys.readouterr().out
    assert (
        "12 captions = 6 accepted + 2 no number + 1 excluded + 1 ambiguous + 2 not verified" in out
    )
    assert "excluded: 1 age" in out
    assert "ambiguous: 1 several numbers" in out
    assert "not verified: 1 another count, 1 no boxes" in out
    assert re.search(r"^two +5 +4 +2$", out, re.MULTILINE)
    assert re.search(r"^all +8 +6 +4$", out, re.MULTILINE)
    assert "6 verified samples = 4 kept + 2 over the limit" in out
    lines = [json.loads(one) for one in (shards.parent / "ledger.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    named = {line["key"]: line for line in lines}
    assert named["000000003"]["reason"] == "another count"
    assert (named["000000003"]["count"], named["000000003"]["count_low"]) == (2, 3)
    assert named["000000004"]["words"] == ["two: age"]
    assert named["000010000"]["words"] == ["two: dogs", "three: cats"]
    assert named["000010003"]["reason"] == "no boxes"
    over = [line for line in lines if line["outcome"] == "over the limit"]
    assert {line["count"] for line in over} == {2}
    assert len(over) == 2
    everything = {row["key"] for row in rows(shards)} | named.keys()
    assert everything == {f"{i // 5:05d}{i % 5:04d}" for i in range(12)} - {
        "000000002",
        "000010001",
    }


def test_balance_is_by_lot_and_grows(tmp_path):
    shards = write_samples(tmp_path, [([f"two dogs {i}"], {"dog": 2}) for i in range(40)])
    kept = []
    for most in (5, 15, 100):
        run(shards, balance=most, restart=True)
        kept.append({row["key"] for row in rows(shards)})
    assert list(map(len, kept)) == [5, 15, 40]
    assert kept[0] < kept[1] < kept[2]
    assert kept[0] != {f"{0:05d}{i:04d}" for i in range(5)}  # not the first ones
    run(shards, balance=5, seed=1, restart=True)
    assert {row["key"] for row in rows(shards)} != kept[0]


def test_wrong_numbers_are_drawn_from_all_others(tmp_path):
    shards = write_samples(tmp_path, [([f"two dogs {i}"], {"dog": 2}) for i in range(400)], 400)
    run(shards)
    drawn = Counter(find_numbers(row["counterfactual"])[0].count for row in rows(shards))
    assert drawn.keys() == set(NUMBERS) - {2}
    assert min(drawn.values()) > 25  # 50 expected


def test_another_caption_counts_when_the_source_does_not(shards, capsys):
    run(shards, captions="all")
    found = {row["key"]: row for row in rows(shards)}
    assert "15 captions = 9 accepted" in capsys.readouterr().out
    row = found["000010001"]
    assert (row["count"], row["noun"], row["caption"]) == (5, "men", 1)
    assert row["counterfactual"] is None  # it is no counterfactual of the source caption
    assert row["src_sha256"] == caption_sha256(b"a small set")
    assert (found["000020000"]["caption"], found["000020000"]["noun"]) == (0, "people")


def test_the_loader_reads_it(shards):
    run(shards)
    tar = shards / "00000.tar"
    found = Sidecars(str(tar), ["counts"]).of("000000000", caption_sha256(b"Two dogs run"))
    assert (found.count.number, found.count.noun) == (2, "dogs")
    assert found.count.counterfactual.endswith(" dogs run")
    assert not found.missing
    assert Sidecars(str(tar), ["counts"]).of("000000002", caption_sha256(b"a dog")).count is None


def test_captions_of_a_benchmark_are_left_out_with_their_samples(shards, capsys):
    benchmark = shards.parent / "bench.json"
    benchmark.write_text(
        json.dumps([{"text": "two  DOGS, run!", "number": 2}, {"text": "six women"}])
    )
    run(shards, exclude_captions=(str(benchmark),))
    assert "excluded: 2 evaluation caption, 1 age" in capsys.readouterr().out
    assert not {"000000000", "000020000"} & {row["key"] for row in rows(shards)}


def test_captions_may_be_believed_only_on_demand(shards, capsys):
    with pytest.raises(InputError, match="one of --boxes, --detector and --unverified"):
        Counts(shards=[str(shards)])
    run(shards, unverified=True)
    assert {row["rule"] for row in rows(shards)} == {"unverified"}
    assert "8 accepted" in capsys.readouterr().out


def test_boxes_are_kept_and_read_by_name(shards):
    run(shards)
    before = rows(shards)
    run(shards, boxes="boxes", name="counts-again")
    assert rows(shards, "counts-again") == before
    # a sidecar that somebody else wrote
    for tar in shards.glob("*.tar"):
        table = read_sidecar(tar, "boxes").select(
            ["key", "src_sha256", "labels", "boxes", "scores"]
        )
        path = sidecar_path(tar, "boxes-foreign")
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table.replace_schema_metadata(None), path)
    run(shards, boxes="boxes-foreign", name="counts-foreign")
    assert rows(shards, "counts-foreign") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": "none.jsonl"}, "no such file"),
        ({"boxes": "boxes-x"}, "sidecar .* is missing"),
        ({"boxes": "x", "unverified": True}, "one of"),
        ({"unverified": True, "threshold": "0.1,0.2"}, "--threshold: only with"),
        ({"unverified": True, "unmapped": "any-class"}, "--unmapped: only with"),
        ({"unverified": True, "batch": 3}, "--batch: only with --detector"),
        ({"boxes": "x", "open_vocabulary": True}, "--open-vocabulary: only with --detector"),
        ({"threshold": "0.5"}, "expected two scores"),
        ({"threshold": "0.05,0.5"}, "expected two scores"),
        ({"threshold": "a,b"}, "expected two scores"),
        ({"name": "numbers"}, "expected counts or counts-SUFFIX"),
        ({"balance": 0}, "--balance 0"),
    ],
)
def test_options_that_cannot_be(shards, options, message):
    with pytest.raises(InputError, match=message):
        run(shards, **options)


def test_a_file_of_other_pictures_is_refused(shards):
    (shards.parent / "boxes.jsonl").write_text('{"image": "other.jpg", "objects": []}\n')
    with pytest.raises(InputError, match="not one sample is in it"):
        run(shards)


def test_lists_of_a_foreign_sidecar_that_differ_in_length(shards):
    for tar in shards.glob("*.tar"):
        path = sidecar_path(tar, "boxes")
        path.parent.mkdir(exist_ok=True)
        row = {"key": "0", "src_sha256": "", "labels": ["dog"], "boxes": [], "scores": []}
        pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(InputError, match="as many boxes and scores as labels"):
        run(shards, boxes="boxes")


def test_parts_workers_and_a_second_run_give_the_same_bytes(tmp_path, capsys):
    made = []
    for name, options in (
        ("a", [{}]),
        ("b", [{"workers": 2}]),
        ("c", [{"part": "2/2"}, {"part": "1/2"}]),
    ):
        shards = write_samples(tmp_path / name)
        for option in options:
            run(shards, balance=2, captions="all", **option)
        made.append(files(shards))
    assert made[0] == made[1] == made[2]
    assert "other parts are still to come" in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in shards.rglob("*.parquet")}
    run(shards, balance=2, captions="all")
    assert times == {path: path.stat().st_mtime_ns for path in times}
    with pytest.raises(InputError, match=r"--restart"):
        run(shards, balance=2, captions="all", threshold="0.2,0.6")
