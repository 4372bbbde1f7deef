"""`export`, read by the tools that it is for: open_clip, pandas, Hugging Face datasets, `build`."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from data_tools.build import Build, build
from data_tools.export import Export, export
from tests.data_tools.conftest import jpeg
from tests.data_tools.reshard_shards import HEAD, LIST, contents, heads, write_rows, write_shards

CAPTIONS = (
    'a "quoted" caption',
    "a tab\there",
    "two\nlines",
    "a lone\rreturn",
    "null",
    "naïve — ∑ 日本",
    "'it's'",
)
KEYS = ("../../evil", "a b", "sub/a", "Sub/A", "sub_a", "CON", "x" * 90)
SHAPES = Path(__file__).parents[2] / "data" / "shapes" / "test"


def run(shards, output, form, **options):
    """`export` in this process; returns the output."""
    export(Export(shards=[str(shards)], output=output, format=form, executor="serial", **options))
    return output


@pytest.fixture
def data(tmp_path):
    """Pictures with captions and keys that are hard on tables and on file systems."""
    pool = {}
    for number, (key, text) in enumerate(zip(KEYS, CAPTIONS, strict=True)):
        record = json.dumps({"captions": [text, f"second {number}"], "score": 0.1})
        pool[key] = {"jpg": jpeg(number), "json": record.encode(), "txt": text.encode()}
    pairs = list(pool.items())
    folder = write_shards(tmp_path / "in", [dict(pairs[:4]), dict(pairs[4:])])
    for shard in folder.glob("*.tar"):
        rows = [head | {"texts": [f"rewrite\tof {head['key']}"]} for head in heads(shard)]
        write_rows(shard, "rewrites", rows)
        schema = pa.schema([*HEAD, ("labels", LIST), ("boxes", pa.list_(pa.list_(pa.float32())))])
        boxes = {"labels": ["dog"], "boxes": [[0.0, 1.5, 2.0, 3.0]]}
        write_rows(shard, "boxes", [heads(shard)[0] | boxes], schema)
    return folder


def open_clip_data(**arguments):
    known = {"val_data": None, "dataset_resampled": False, "train_num_samples": None, "seed": 0,
             "train_data_upsampling_factors": None, "batch_size": 1, "workers": 0, "world_size": 1,
             "distributed": False}  # fmt: skip
    return SimpleNamespace(**known | arguments)


def size(image):
    image.load()  # which closes its file
    return image.size


@pytest.mark.filterwarnings(  # it leaves sizes.json to be closed by the interpreter
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_open_clip_reads_every_sample_of_the_shards(data, tmp_path, monkeypatch):
    """Its release cannot read with webdataset 1, whose reader ends each shard with a mark."""
    open_clip = pytest.importorskip("open_clip_train.data")
    expand = open_clip.tar_file_expander

    def without_marks(*arguments, **options):
        return (file for file in expand(*arguments, **options) if "fname" in file)

    monkeypatch.setattr(open_clip, "tar_file_expander", without_marks)
    out = run(data, tmp_path / "out", "open-clip-txt", choose="random", seed=2)
    pattern = f"{out}/{{00000..00001}}.tar"
    assert open_clip.get_dataset_size(pattern) == (len(KEYS), 2)
    urls = [{"url": name} for name in open_clip.expand_urls(pattern)[0]]
    read = list(open_clip.tarfile_to_samples_nothrow(iter(urls)))
    assert all(map(open_clip.filter_no_caption_or_no_image, read))
    found = [(sample["jpg"], sample["txt"]) for sample in read]
    assert found == [(sample["jpg"], sample["txt"]) for _, sample in contents(out)]
    assert len(found) == len(KEYS)


def test_open_clip_reads_the_table(data, tmp_path, monkeypatch):
    open_clip = pytest.importorskip("open_clip_train.data")
    out = run(data, tmp_path / "out", "csv")
    monkeypatch.chdir(out)
    arguments = open_clip_data(
        train_data="captions.tsv", csv_img_key="filepath", csv_caption_key="title",
        csv_separator="\t",
    )  # fmt: skip
    info = open_clip.get_csv_dataset(arguments, size, True, tokenizer=lambda texts: texts)
    found = [info.dataloader.dataset[place] for place in range(3 * len(KEYS))]
    assert {read for read, _ in found} == {(24, 16)}
    wanted = [
        text
        for number, (key, own) in enumerate(zip(KEYS, CAPTIONS, strict=True))
        for text in (own, f"second {number}", f"rewrite\tof {key}")
    ]
    # pandas takes this word for a missing value, which the command says
    assert [text for _, text in found] == [t if t != "null" else "nan" for t in wanted]


def test_pictures_lie_inside_and_keep_their_bytes(data, tmp_path, capsys):
    out = run(data, tmp_path / "out", "csv", choose="first")
    assert "1 texts such as 'null' are read by pandas as missing" in capsys.readouterr().out
    lines = [json.loads(line) for line in (out / "annotations.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == list(KEYS)
    paths = [line["filepath"] for line in lines]
    assert len({path.lower() for path in paths}) == len(KEYS)
    assert [(out / path).read_bytes() for path in paths] == [jpeg(n) for n in range(len(KEYS))]
    assert all((out / path).resolve().is_relative_to(out.resolve()) for path in paths)
    assert {path.parent for path in out.rglob("*.jpg")} == {
        out / "images" / f"0000{n}" for n in (0, 1)
    }
    assert lines[0]["sidecars"]["rewrites"] == {"texts": ["rewrite\tof ../../evil"]}
    assert lines[0]["record"]["score"] == 0.1


def test_datasets_reads_the_folder_without_code(data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    out = run(data, tmp_path / "out", "hf")
    read = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["key"] for row in read] == list(KEYS)
    assert [row["image"].size for row in read] == [(24, 16)] * len(KEYS)
    raw = read.cast_column("image", datasets.Image(decode=False))
    before = contents(data)
    for row, (key, sample) in zip(raw, before, strict=True):
        assert row["image"]["bytes"] == sample["jpg"]
        assert row["record"] == sample["json"].decode()
        assert row["captions"] == json.loads(sample["json"])["captions"]
        assert row["caption"] == sample["txt"].decode()
        assert row["rewrites_texts"] == [f"rewrite\tof {key}"]
    assert [row["boxes_labels"] for row in raw] == [["dog"], None, None, None, ["dog"], None, None]
    assert raw[0]["boxes_boxes"] == [[0.0, 1.5, 2.0, 3.0]]


def known(sample):
    """What must come back: the picture's bytes and the captions."""
    return sample["jpg"], json.loads(sample["json"])["captions"]


@pytest.mark.parametrize(
    ("form", "place", "columns"),
    [
        ("csv", "captions.tsv", {"image_column": "filepath", "caption_column": "title"}),
        ("hf", "data/*.parquet", {"caption_column": "captions"}),
        ("open-clip-json", ".", {}),
    ],
)
def test_what_is_built_of_an_export_is_what_was_exported(data, tmp_path, form, place, columns):
    out = run(data, tmp_path / "out", form, texts="")
    build(Build(input=str(out / place), output=tmp_path / "again", workers=1, **columns))
    found = [known(sample) for _, sample in contents(tmp_path / "again")]
    # a name that leads out of a tar is not built of
    before = contents(data)[form == "open-clip-json" :]
    assert found == [known(sample) for _, sample in before]


@pytest.mark.skipif(not SHAPES.is_dir(), reason="the built-in world was not written")
def test_sidecars_of_real_shards_come_back_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    out = run(SHAPES / "00001.tar", tmp_path / "out", "hf")
    read = datasets.load_dataset(str(out), split="test", cache_dir=str(tmp_path / "cache"))
    kept = {"rewrites": ["texts"], "negatives": ["texts", "kinds"],
            "counts": ["count", "noun", "counterfactual"]}  # fmt: skip
    for name, columns in kept.items():
        path = SHAPES / "annotations" / name / "00001.parquet"
        wanted = {row["key"]: row for row in pa.parquet.read_table(path).to_pylist()}
        for row in read.select_columns(["key", *(f"{name}_{c}" for c in columns)]):
            there = wanted.get(row["key"], dict.fromkeys(columns))
            assert [row[f"{name}_{column}"] for column in columns] == [there[c] for c in columns]
