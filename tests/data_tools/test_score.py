"""Scores are the cosines of the model's own embeddings, whatever the batch, however it is run."""

import io
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import vlp
from data_tools.annotate import read_sidecar
from tests.conftest import make_shards
from tests.data_tools.trees import files, samples
from vlp.checkpoint import publish
from vlp.data.index import sidecar_path, write_index
from vlp.data.sidecars import Table
from vlp.data.tar import write_tar
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer


def model_folder(folder, arch, seed, broken=False):
    """A published model with random weights."""
    folder.mkdir()
    torch.manual_seed(seed)
    model = build_model(ModelConfig(arch=arch))
    state = dict(model.clip.state_dict())
    if broken:
        state["visual.proj"] = torch.full_like(state["visual.proj"], float("nan"))
    tokenizer = build_tokenizer(model.description.model_cfg)
    facts = {"weights": "last", "samples_seen": 0, "step": 0, "recipe": {}}
    publish(folder, state, model.description, tokenizer, facts)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_arch):
    return model_folder(tmp_path_factory.mktemp("models") / "one", tiny_arch, 1)


@pytest.fixture
def data(tmp_path):
    make_shards(tmp_path / "data", [7, 5])
    return tmp_path / "data"


def members(data, shard="00000"):
    return samples(data / f"{shard}.tar")


def cosines(model, sample):
    """Of one picture and each caption of its record, by the plain way."""
    encoder = vlp.load(model, "cpu")
    image = encoder.encode_image([Image.open(io.BytesIO(sample["jpg"])).convert("RGB")])
    text = torch.cat([encoder.encode_text([t]) for t in json.loads(sample["json"])["captions"]])
    return (image @ text.T)[0].numpy()


def test_a_score_is_the_cosine_of_the_picture_and_its_caption(command, data, model):
    code, out, _ = command("score", data, "--model", model, "--workers", 1)
    assert code == 0
    assert "12 samples = 12 scored" in out
    table = read_sidecar(data / "00000.tar", "scores")
    assert table["clip_score"].type == "float"
    expected = [cosines(model, sample)[0] for sample in members(data).values()]
    np.testing.assert_allclose(table["clip_score"].to_numpy(), expected, atol=1e-5)
    assert table["key"].to_pylist() == list(members(data))
    assert table["error"].null_count == 7


def test_all_captions_are_scored_and_the_highest_is_told(command, data, model):
    command("score", data, "--model", model, "--workers", 1, "--captions", "all")
    rows = read_sidecar(data / "00000.tar", "scores").to_pylist()
    for row, sample in zip(rows, members(data).values(), strict=True):
        expected = cosines(model, sample)
        np.testing.assert_allclose(row["clip_scores"], expected, atol=1e-5)
        assert row["clip_score"] == row["clip_scores"][0]
        assert row["clip_score_max"] == max(row["clip_scores"])


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_changes_nothing_that_matters(command, data, model, batch):
    command("score", data, "--model", model, "--workers", 1, "--name", "scores-a")
    arguments = ["--workers", 1, "--batch", batch]
    command("score", data, "--model", model, "--name", "scores-b", *arguments)
    one, other = (read_sidecar(data / "00001.tar", name) for name in ("scores-a", "scores-b"))
    np.testing.assert_allclose(one["clip_score"], other["clip_score"], atol=1e-5, rtol=0)


def test_any_number_of_workers_gives_the_same_bytes(command, data, model, tmp_path):
    shutil.copytree(data, tmp_path / "copy")
    arguments = ["--model", model, "--embeddings", "embeddings"]
    assert command("score", data, *arguments, "--executor", "serial")[0] == 0
    assert command("score", tmp_path / "copy", *arguments, "--workers", 2)[0] == 0
    assert files(data) == files(tmp_path / "copy")


def test_a_shard_without_samples_gets_sidecars_without_rows(command, data, model):
    write_tar(data / "00002.tar", [])
    write_index(data / "00002.tar")
    arguments = ["--embeddings", "teacher-x", "--captions", "all", "--workers", 1]
    code, out, _ = command("score", data, "--model", model, *arguments)
    assert code == 0
    assert "12 samples = 12 scored" in out
    tables = [read_sidecar(data / f"{i:05d}.tar", "teacher-x") for i in (0, 2)]
    assert [len(table) for table in tables] == [7, 0]
    assert tables[0].schema == tables[1].schema


def test_bad_samples_are_named_and_counted(command, tmp_path, model):
    (tmp_path / "data").mkdir()
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "PNG")
    good = {"png": buffer.getvalue(), "txt": b"red"}
    write_tar(
        tmp_path / "data" / "0.tar",
        [
            ("a", good),
            ("b", good | {"png": buffer.getvalue()[:60]}),
            ("c", good | {"txt": b" "}),
            ("d", {"txt": b"red"}),
            ("e", {"png": good["png"], "cls": b"1"}),
        ],
    )
    write_index(tmp_path / "data" / "0.tar")
    arguments = ["--model", model, "--embeddings", "embeddings-x", "--workers", 1]
    code, out, _ = command("score", tmp_path / "data", *arguments)
    assert code == 0
    assert "5 samples = 1 scored + 2 unreadable + 2 without a caption" in out
    rows = read_sidecar(tmp_path / "data" / "0.tar", "scores").to_pylist()
    assert [row["clip_score"] is None for row in rows] == [False, True, True, True, True]
    assert rows[0]["error"] is None
    assert "no picture" in rows[3]["error"]
    images = read_sidecar(tmp_path / "data" / "0.tar", "embeddings-x")["image"]
    assert images.is_valid().to_pylist() == [True, False, True, False, True]


def test_embeddings_are_what_a_teacher_reads(command, data, model):
    arguments = ["--model", model, "--captions", "all", "--workers", 1]
    code, _, _ = command("score", data, *arguments, "--embeddings", "teacher-tiny")
    assert code == 0
    table = Table(sidecar_path(data / "00000.tar", "teacher-tiny"), ("image", "text"))
    scores = read_sidecar(data / "00000.tar", "scores").to_pylist()
    for row in scores:
        image, texts = table.row(row["key"], row["src_sha256"]).embeddings()
        assert texts.shape == (2, 16)
        lengths = np.linalg.norm(texts, axis=1) * np.linalg.norm(image)
        np.testing.assert_allclose(texts @ image / lengths, row["clip_scores"], atol=2e-3)


def test_a_shard_whose_embeddings_are_gone_is_made_again(command, data, model):
    arguments = ["--model", model, "--embeddings", "embeddings", "--workers", 1]
    command("score", data, *arguments)
    before = files(data)
    sidecar_path(data / "00001.tar", "embeddings").unlink()
    code, out, _ = command("score", data, *arguments)
    assert code == 0
    assert "1 of 2 shards are finished already" in out
    assert files(data) == before


def test_embeddings_can_be_asked_for_later(command, data, model):
    command("score", data, "--model", model, "--workers", 1)
    before = sidecar_path(data / "00000.tar", "scores").read_bytes()
    command("score", data, "--model", model, "--workers", 1, "--embeddings", "embeddings")
    assert sidecar_path(data / "00000.tar", "scores").read_bytes() == before
    assert sidecar_path(data / "00000.tar", "embeddings").exists()


def test_another_model_takes_another_name(command, data, model, tmp_path, tiny_arch):
    other = model_folder(tmp_path / "other", tiny_arch, 2)
    command("score", data, "--model", model, "--workers", 1)
    code, _, err = command("score", data, "--model", other, "--workers", 1)
    assert code == 2
    assert "model was" in err
    assert "--restart" in err
    code, _, _ = command("score", data, "--model", other, "--workers", 1, "--name", "scores-other")
    assert code == 0
    one, two = (read_sidecar(data / "00000.tar", n) for n in ("scores", "scores-other"))
    assert one["clip_score"].to_pylist() != two["clip_score"].to_pylist()
    mark = json.loads(
        pq.read_schema(sidecar_path(data / "00000.tar", "scores")).metadata[b"vlp_recipe"]
    )
    assert mark["model"] == vlp.load(model).fingerprint


def test_captions_that_the_model_cannot_read_whole_are_counted(command, tmp_path, model):
    (tmp_path / "data").mkdir()
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "PNG")
    texts = ["red", "red " * 14, "red " * 15]  # with start and end 3, 16 and 17 tokens
    pictures = [
        (str(i), {"png": buffer.getvalue(), "txt": t.encode()}) for i, t in enumerate(texts)
    ]
    write_tar(tmp_path / "data" / "0.tar", pictures)
    write_index(tmp_path / "data" / "0.tar")
    _, out, _ = command("score", tmp_path / "data", "--model", model, "--workers", 1)
    assert "3 captions, 1 of them longer than the 16 tokens that the model reads" in out


def test_the_printed_mean_is_the_mean(command, data, model):
    _, out, _ = command("score", data, "--model", model, "--workers", 1)
    scores = [
        read_sidecar(data / f"0000{i}.tar", "scores")["clip_score"].to_numpy() for i in (0, 1)
    ]
    assert f"mean {np.concatenate(scores).mean():.4f}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "NOWHERE"], "'NOWHERE' is no file and no folder"),
        (["--model", "ViT-B-32"], "lacks a pretrained tag"),
        (["--model", "x", "--batch", 0], "--batch 0"),
        (["--model", "x", "--name", "mine"], "scores-NAME"),
        (["--model", "x", "--name", "scores-"], "scores-NAME"),
        (["--model", "x", "--embeddings", "scores"], "embeddings-NAME"),
        (["--model", "x", "--embeddings", "teacher"], "--captions all"),
    ],
)
def test_bad_input_is_named(command, data, arguments, message):
    code, _, err = command("score", data, *arguments)
    assert code == 2
    assert message in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_no_cpu(command, data, model):
    code, _, err = command("score", data, "--model", model, "--device", "cuda")
    assert code == 2
    assert "no usable GPU" in err


def test_a_broken_model_gives_no_scores(command, data, tmp_path, tiny_arch):
    broken = model_folder(tmp_path / "broken", tiny_arch, 1, broken=True)
    code, _, err = command("score", data, "--model", broken, "--workers", 1)
    assert code == 2
    assert "NaN or infinity" in err
    assert not sidecar_path(data / "00000.tar", "scores").exists()
