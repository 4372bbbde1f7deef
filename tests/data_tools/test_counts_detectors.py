"""Detectors of transformers, tiny and untrained, through the whole command."""

import json

import pytest
import torch
import transformers
from PIL import Image

from data_tools.annotate import read_sidecar
from data_tools.counting.detectors import Detector, detect_shard, fingerprint
from data_tools.counts import Counts, counts
from data_tools.plurals import singular
from tests.data_tools.conftest import jpeg
from vlp.data.images import decode
from vlp.data.index import write_index
from vlp.data.tar import write_tar
from vlp.errors import InputError

CAPTIONS = [
    "two dogs",
    "a dog",
    "three small cats",
    "a set of two",
    "two dogs and two cats",
    "six cats",
]
COUNTING = [0, 2, 3, 5]
TINY = {
    "d_model": 32, "num_queries": 6, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_layers": 1,
}  # fmt: skip
STAGES = {"embedding_size": 8, "hidden_sizes": [8] * 4, "depths": [1] * 4, "layer_type": "basic"}


def labels(*names):
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
    }


def detr(folder):
    backbone = transformers.ResNetConfig(**STAGES, out_features=["stage4"])
    config = transformers.DetrConfig(
        **TINY, **labels("N/A", "cat", "dog"), decoder_layers=1, backbone_config=backbone,
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
    )  # fmt: skip
    model = transformers.DetrForObjectDetection(config)
    with torch.no_grad():  # so that something is found
        model.class_labels_classifier.bias.copy_(torch.tensor([-2.0, 1.0, 1.0, 0.0]))
    model.save_pretrained(folder)
    size = {"shortest_edge": 48, "longest_edge": 64}
    transformers.DetrImageProcessor(size=size).save_pretrained(folder)


def rt_detr(folder):
    stages = ["stage2", "stage3", "stage4"]
    backbone = transformers.RTDetrResNetConfig(**STAGES, out_features=stages)
    config = transformers.RTDetrConfig(
        **TINY, **labels("cat", "dog"), decoder_layers=1, backbone_config=backbone, backbone=None,
        encoder_hidden_dim=32, encoder_in_channels=[8] * 3, decoder_in_channels=[32] * 3,
        num_denoising=0, use_pretrained_backbone=False,
    )  # fmt: skip
    transformers.RTDetrForObjectDetection(config).save_pretrained(folder)
    size = {"height": 64, "width": 64}
    transformers.RTDetrImageProcessor(size=size).save_pretrained(folder)


def grounding_dino(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "dog", "cat", "small"]
    tokenizer = transformers.BertTokenizerFast(vocab={w: i for i, w in enumerate(words)})
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    bert = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64,
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        **TINY, decoder_layers=2, backbone_config=swin, backbone=None, text_config=bert,
        max_text_len=64,
    )  # fmt: skip
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(
        size={"shortest_edge": 48, "longest_edge": 64}
    )
    transformers.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


def owl(folder):
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    special = ["!", "<|startoftext|>", "<|endoftext|>"]
    words = [*letters, *(letter + "</w>" for letter in letters), *special]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[])
    tokenizer.model_max_length = 10
    side = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    side["num_attention_heads"] = 2
    text = {**side, "vocab_size": len(words), "max_position_embeddings": 10, "pad_token_id": 52}
    config = transformers.Owlv2Config(
        text_config={**text, "bos_token_id": 53, "eos_token_id": 54},
        vision_config={**side, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    images = transformers.Owlv2ImageProcessor(size={"height": 64, "width": 64})
    transformers.Owlv2Processor(images, tokenizer).save_pretrained(folder)


CLOSED, OPEN = [detr, rt_detr], [grounding_dino, owl]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of untrained models by the function that makes them."""
    folder = tmp_path_factory.mktemp("models")
    transformers.utils.logging.disable_progress_bar()
    for make in [*CLOSED, *OPEN]:
        torch.manual_seed(3)
        make(folder / make.__name__)
    return {make: folder / make.__name__ for make in [*CLOSED, *OPEN]}


@pytest.fixture
def shard(tmp_path):
    """One shard; its last picture cannot be read."""
    own = []
    for number, caption in enumerate(CAPTIONS):
        data = jpeg(number, (60, 40 + number)) if number < 5 else b"no picture"
        own.append((f"{number:09d}", {"jpg": data, "txt": caption.encode()}))
    write_tar(tmp_path / "00000.tar", own)
    write_index(tmp_path / "00000.tar")
    return tmp_path / "00000.tar"


def detector(folder, prompted, batch=2):
    return Detector(folder=folder, prompted=prompted, captions="first", batch=batch, device="cpu")


def picture(number):
    return decode(jpeg(number, (60, 40 + number))).image


def scores_by_peer(folder, number, prompt):
    """What transformers' own pipeline finds on one picture."""
    task = "object-detection" if prompt is None else "zero-shot-object-detection"
    pipe = transformers.pipeline(task, model=str(folder), device="cpu")
    if prompt is None:
        found = pipe(picture(number), threshold=0.1)
    else:
        found = pipe(picture(number), candidate_labels=[prompt], threshold=0.1)
    kept = [one for one in found if one["label"] != "N/A"]
    return sorted((one["score"], *one["box"].values()) for one in kept)


@pytest.mark.parametrize("make", CLOSED, ids=lambda make: make.__name__)
def test_boxes_are_those_of_the_peers_pipeline(models, shard, make):
    # DETR pads pictures of a batch to the same size, which moves its scores a little
    made = detect_shard(shard, detector(models[make], prompted=False, batch=1))
    assert made.counts == {"pictures": 3, "unreadable pictures": 1}
    assert [row["key"] for row in made.rows] == [f"{i:09d}" for i in COUNTING]
    assert made.rows[-1]["labels"] is None
    for number, row in zip(COUNTING[:-1], made.rows[:-1], strict=True):
        assert set(row["labels"]) <= {"cat", "dog"}
        peer = scores_by_peer(models[make], number, None)
        pairs = sorted(zip(row["scores"], row["boxes"], strict=True))
        assert len(pairs) == len(peer) > 0
        for (score, box), other in zip(pairs, peer, strict=True):
            assert score == pytest.approx(other[0], abs=1e-4)
            assert box == pytest.approx(other[1:], abs=1.1)  # which it cuts to whole pixels


@pytest.mark.parametrize("make", OPEN, ids=lambda make: make.__name__)
def test_a_detector_that_takes_texts_is_asked_for_each_noun(models, shard, make):
    made = detect_shard(shard, detector(models[make], prompted=True))
    rows = {row["key"]: row for row in made.rows}
    assert rows["000000003"]["labels"] == []  # there is no noun to ask for
    for number, prompt in ((0, "dog"), (2, "small cat")):
        row = rows[f"{number:09d}"]
        assert set(row["labels"]) == {prompt}
        assert all(-70 < value < 130 for box in row["boxes"] for value in box)
    if make is owl:  # its pipeline runs one text at a time as we do
        peer = scores_by_peer(models[make], 0, "dog")
        assert sorted(rows["000000000"]["scores"]) == pytest.approx([s for s, *_ in peer], abs=1e-4)


def test_a_prompt_that_is_too_long_keeps_its_noun(models, tmp_path):
    caption = "two extraordinarily ornamented whitish cats"
    write_tar(tmp_path / "0.tar", [("0", {"jpg": jpeg(0), "txt": caption.encode()})])
    write_index(tmp_path / "0.tar")
    made = detect_shard(tmp_path / "0.tar", detector(models[owl], prompted=True))
    long = set(made.rows[0]["labels"])
    assert long == {caption.removeprefix("two ").replace("cats", singular("cats"))}
    write_tar(tmp_path / "1.tar", [("0", {"jpg": jpeg(0), "txt": b"two cats"})])
    write_index(tmp_path / "1.tar")
    short = detect_shard(tmp_path / "1.tar", detector(models[owl], prompted=True))
    assert made.rows[0]["scores"] == short.rows[0]["scores"]


@pytest.mark.parametrize("make", [detr, grounding_dino], ids=lambda make: make.__name__)
def test_the_command(models, shard, capsys, make):
    options = {
        "detector": models[make],
        "open_vocabulary": make in OPEN,
        "batch": 2,
        "device": "cpu",
    }
    counts(Counts(shards=[str(shard)], workers=1, **options))
    out = capsys.readouterr().out
    assert "3 pictures with a counting caption went through the detector" in out
    assert "1 unreadable picture" in out
    assert "6 captions = " in out
    made = shard.parent / "annotations" / "boxes" / "00000.parquet"
    stamp = made.stat().st_mtime_ns
    again = {**options, "threshold": "0.1,0.1", "restart": True}
    counts(Counts(shards=[str(shard)], workers=1, **again))
    assert made.stat().st_mtime_ns == stamp  # the detector did not run again
    stored = read_sidecar(shard, "boxes").to_pylist()
    mined = {row["key"]: row for row in read_sidecar(shard, "counts/.mined").to_pylist()}
    for row in stored[:2]:
        own = mined[row["key"]]
        if row["labels"]:
            assert own["count_low"] == own["count_high"] <= len(row["labels"])


def test_boxes_for_nouns_are_no_boxes_of_classes(models, shard):
    options = {"detector": models[owl], "open_vocabulary": True, "device": "cpu"}
    counts(Counts(shards=[str(shard)], workers=1, **options))
    with pytest.raises(InputError, match="was made for the nouns of the captions"):
        counts(Counts(shards=[str(shard)], workers=1, boxes="boxes"))


def test_folders_that_are_no_detector(models, shard, tmp_path):
    with pytest.raises(InputError, match=r"expected config\.json and \.safetensors"):
        counts(Counts(shards=[str(shard)], detector=tmp_path, device="cpu"))
    with pytest.raises(InputError, match="--device tpu"):
        counts(Counts(shards=[str(shard)], detector=models[detr], device="tpu"))
    config = json.loads((models[detr] / "config.json").read_text())
    weights = (models[detr] / "model.safetensors").read_bytes()
    del config["id2label"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert fingerprint(tmp_path) != fingerprint(models[detr])
    with pytest.raises(InputError, match="no id2label"):
        counts(Counts(shards=[str(shard)], detector=tmp_path, device="cpu"))


def test_pictures_are_what_the_peer_sees():
    assert isinstance(picture(0), Image.Image)
    assert picture(0).size == (60, 40)
