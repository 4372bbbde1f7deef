"""The folder that a job writes: its layout, and what it may be continued with."""

import fcntl
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.vlp.retrieval.embedding.pictures_made import folder_of, picture, quiet
from vlp.errors import InputError, RunError
from vlp.retrieval.embedding.embed import EmbedOptions
from vlp.retrieval.embedding.items import DataOptions
from vlp.retrieval.embedding.job import Job, partition_size, run
from vlp.retrieval.embedding.reader import is_embeddings, read_embeddings
from vlp.retrieval.embedding.sources import open_data
from vlp.retrieval.manifest import ModelMark


@pytest.fixture
def data(tmp_path):
    folder = folder_of(tmp_path / "data", [f"{n}.png" for n in range(6)])
    (folder / "1.txt").write_text("a red circle")
    return folder


@pytest.fixture
def job(encoder, data, tmp_path):
    """Makes a job; options of `Job` may be given."""

    def make(**options):
        given = {
            "folder": tmp_path / "out",
            "data": str(data),
            "read": DataOptions(),
            "items": open_data(str(data), DataOptions(), quiet),
            "encoder": encoder,
            "model": ModelMark(source="there", fingerprint=encoder.fingerprint, name="tiny"),
            "options": EmbedOptions(batch_size=2, workers=1),
            "partition": 2,
        }
        return Job(**given | options)

    return make


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_layout_is_that_of_clip_retrieval(job, encoder):
    result = run(job(), quiet)
    folder = job().folder
    assert (result.rows, result.captions, result.partitions) == (6, 1, 3)
    assert sorted(path.name for path in (folder / "img_emb").iterdir()) == [
        f"img_emb_{n}.npy" for n in range(3)
    ]
    for n in range(3):
        vectors = np.load(folder / f"img_emb/img_emb_{n}.npy", allow_pickle=False)
        texts = np.load(folder / f"text_emb/text_emb_{n}.npy", allow_pickle=False)
        table = pq.read_table(folder / f"metadata/metadata_{n}.parquet")
        paths = table["image_path"].to_pylist()
        assert vectors.dtype == texts.dtype == np.float16
        np.testing.assert_allclose(vectors, encoder.encode_image(paths).numpy(), atol=1e-3)
        for row, caption in zip(texts, table["caption"].to_pylist(), strict=True):
            expected = 0 if caption is None else encoder.encode_text(caption).numpy()
            np.testing.assert_allclose(row, expected, atol=1e-3)


@pytest.mark.parametrize("pictures", [1, 9, 10, 11])
def test_numbers_have_the_digits_of_clip_retrieval(tmp_path, job, pictures):
    folder = folder_of(tmp_path / "many", [f"{n:02d}.png" for n in range(pictures)])
    items = open_data(str(folder), DataOptions(), quiet)
    run(job(items=items, partition=1), quiet)
    digits = int(np.log10(pictures)) + 1  # its own formula
    expected = [f"img_emb_{str(n).zfill(digits)}.npy" for n in range(pictures)]
    assert sorted(os.listdir(tmp_path / "out/img_emb")) == expected


def test_round_trip(job, encoder, data):
    result = run(job(), quiet)
    found = read_embeddings(job().folder)
    assert (found.rows, found.dim, found.modality) == (result.rows, 16, "image")
    assert found.model == {"source": "there", "fingerprint": encoder.fingerprint, "name": "tiny"}
    assert (found.data, found.options) == (str(data), DataOptions())
    paths = [path for _, table in found.partitions() for path in table["image_path"].to_pylist()]
    assert paths == [f"{data}/{n}.png" for n in range(6)]
    texts = read_embeddings(job().folder, "text")
    _, table = next(texts.partitions())
    assert table["caption"].to_pylist() == ["a red circle"]
    assert texts.rows == 1


def test_types_of_columns_are_the_same_in_all_files(job, data):
    (data / "0.json").write_text('{"n": 1, "s": "x"}')
    (data / "5.json").write_text('{"n": 0.5}')
    run(job(), quiet)
    folder = job().folder / "metadata"
    schemas = [pq.read_schema(path) for path in sorted(folder.iterdir())]
    assert all(schema.equals(schemas[0]) for schema in schemas)
    assert str(schemas[0].field("n").type) == "double"


def test_copies_and_problems_are_told(job, data):
    (data / "7.png").write_bytes(picture(0))
    (data / "7.txt").write_text("of the copy")
    (data / "7.json").write_text('{"n": 3}')
    (data / "8.png").write_text("<html>")
    result = run(job(), quiet)
    assert (result.rows, result.copies, len(result.problems)) == (6, 1, 1)
    row = json.loads((job().folder / "copies.jsonl").read_text())
    assert (row["image_path"], row["copy_of"]) == (f"{data}/7.png", f"{data}/0.png")
    assert (row["captions"], row["metadata"]) == (["of the copy"], {"n": 3})
    row = json.loads((job().folder / "report.jsonl").read_text())
    assert row["image_path"] == f"{data}/8.png"
    assert "cannot identify image file" in row["problem"]


def test_second_time_nothing_is_embedded(job, monkeypatch, encoder):
    first = run(job(), quiet)
    monkeypatch.setattr(type(encoder), "encode_image", None)
    second = run(job(), quiet)
    assert (first.embedded, second.embedded) == (True, False)
    assert vars(first) | {"embedded": False} == vars(second)


def stopped(job, monkeypatch, encoder):
    """A job that is stopped in its second partition."""
    whole, calls = type(encoder).encode_image, []

    def stop(self, pixels):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, pixels)

    with monkeypatch.context() as patched:
        patched.setattr(type(encoder), "encode_image", stop)
        with pytest.raises(KeyboardInterrupt):
            run(job(), quiet)


def test_stopped_job_goes_on(job, monkeypatch, encoder):
    stopped(job, monkeypatch, encoder)
    assert is_embeddings(job().folder)
    with pytest.raises(InputError, match="is not finished"):
        read_embeddings(job().folder)
    told = []
    assert run(job(), told.append).rows == 6
    assert told == ["continuing: 1 of 3 partitions are finished"]


def test_lost_file_of_a_finished_partition_is_made_again(job, monkeypatch, encoder):
    stopped(job, monkeypatch, encoder)
    (job().folder / "img_emb/img_emb_0.npy").unlink()
    assert run(job(), quiet).rows == 6
    assert read_embeddings(job().folder).rows == 6


def test_lost_file_of_a_finished_folder_is_told(job):
    run(job(), quiet)
    for name in ("img_emb/img_emb_0.npy", "metadata/metadata_0.parquet"):
        (job().folder / name).unlink()
    with pytest.raises(RunError, match="lacks some of its 6 rows"):
        run(job(), quiet)


def test_other_batches_and_threads_are_the_same_job(job, monkeypatch, encoder):
    stopped(job, monkeypatch, encoder)
    assert run(job(options=EmbedOptions(batch_size=5, workers=3)), quiet).rows == 6


@pytest.mark.parametrize("finished", [True, False])
def test_another_job_is_refused_with_what_differs(job, monkeypatch, encoder, data, finished):
    if finished:
        run(job(), quiet)
    else:
        stopped(job, monkeypatch, encoder)
    before = files(job().folder)
    other = ModelMark(source="elsewhere", fingerprint="f" * 64, name="large")
    (data / "6.png").write_bytes(picture(60))
    grown = open_data(str(data), DataOptions(), quiet)
    cases = [
        ({"model": other}, r"by tiny \(there, .*\), not by large \(elsewhere, fingerprint ffff"),
        ({"items": grown}, "the 6 pictures of .*, not from the 7 pictures"),
        ({"partition": 3}, "with partition 2, not 3"),
        ({"options": EmbedOptions(texts=False)}, "with texts True, not False"),
    ]
    items = grown[:6]
    for change, told in cases:
        with pytest.raises(InputError, match=told):
            run(job(**{"items": items} | change), quiet)
    assert files(job().folder) == before


def test_changed_picture_is_other_data(job, data, monkeypatch, encoder):
    stopped(job, monkeypatch, encoder)
    (data / "5.png").write_bytes(picture(50))
    with pytest.raises(InputError, match="as they are now"):
        run(job(), quiet)


def test_folder_of_something_else_is_left_alone(job):
    job().folder.mkdir()
    (job().folder / "mine.txt").touch()
    with pytest.raises(InputError, match=r"is not empty and has no embed.json \(e.g. mine.txt\)"):
        run(job(), quiet)
    assert not (job().folder / "embed.json").exists()


def test_two_commands_at_once(job):
    job().folder.mkdir()
    with open(job().folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process is writing"):
            run(job(), quiet)
    assert run(job(), quiet).rows == 6


def test_without_any_good_picture_only_the_report_stays(job, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_text(name)
    items = open_data(str(folder), DataOptions(), quiet)
    with pytest.raises(RunError, match="not one of 2 pictures could be embedded"):
        run(job(items=items), quiet)
    assert files(job().folder) == [".lock", "report.jsonl"]
    assert len((job().folder / "report.jsonl").read_text().splitlines()) == 2
    assert run(job(), quiet).rows == 6


def test_full_disk_leaves_nothing_half_written(job, monkeypatch):
    whole = np.save

    def full(file, array, **options):
        whole(file, array[:1], **options)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            run(job(), quiet)
    assert not list(job().folder.rglob("*.npy"))
    assert not list(job().folder.rglob("*.tmp"))
    assert run(job(), quiet).rows == 6


def test_partitions_grow_with_the_data():
    assert [partition_size(n) for n in (0, 10, 32_000, 32_001, 10**7)] == [
        500,
        500,
        500,
        501,
        100_000,
    ]
