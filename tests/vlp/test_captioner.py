"""Captioning decoders: open_clip's CoCa and the head on a plain dual encoder."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import CoCaLoss
from PIL import Image

import vlp
from tests.conftest import TINY
from vlp.checkpoint import publish, published_state
from vlp.encoder import Encoder
from vlp.model import CaptionerConfig, ModelConfig, build_model
from vlp.model.generate import Generation, _nucleus, generate
from vlp.model.tokens import build_tokenizer
from vlp.objectives import Captioning
from vlp.objectives.base import Facts

WORDS = "training/recipes/models/shapes_words"
HEAD = CaptionerConfig(layers=2, heads=2)


def write(folder, **changes):
    path = folder / "m.json"
    config = json.loads(json.dumps(TINY))
    for part, values in changes.items():
        config[part] = {**config.get(part, {}), **values}
    path.write_text(json.dumps(config))
    return str(path)


def worded(tmp_path):
    """A model with a small vocabulary, where the end has the highest id as `argmax` expects."""
    return write(tmp_path, text_cfg={"vocab_size": 90, "hf_tokenizer_name": WORDS})


@pytest.fixture
def head(tmp_path):
    torch.manual_seed(0)
    return build_model(ModelConfig(arch=worded(tmp_path), captioner=HEAD)).eval()


@pytest.fixture
def coca(tmp_path):
    text = {"context_length": 15, "embed_cls": True, "output_tokens": True}
    decoder = {"context_length": 15, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    vision = {"output_tokens": True}
    path = Path(write(tmp_path, text_cfg=text, multimodal_cfg=decoder, vision_cfg=vision))
    path.write_text(json.dumps({**json.loads(path.read_text()), "custom_text": True}))
    torch.manual_seed(0)
    return build_model(ModelConfig(arch=str(path))).eval()


def inputs(length, vocabulary=89, rows=3):
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randint(3, vocabulary, (rows, length), generator=generator)
    tokens[:, length - 4] = vocabulary
    tokens[:, length - 3 :] = 0
    pixels = torch.randint(0, 256, (rows, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return {"pixels": pixels, "tokens": tokens}


@torch.no_grad()
def test_coca_gives_what_open_clips_own_forward_gives(coca):
    signals = inputs(15, 49407)
    found = coca(signals)
    mean, std = coca.get_buffer("mean"), coca.get_buffer("std")
    theirs = coca.clip((signals["pixels"] / 255 - mean) / std, signals["tokens"])
    assert torch.allclose(found["image"], theirs["image_features"], atol=1e-6)
    assert torch.allclose(found["text"], theirs["text_features"], atol=1e-6)
    assert torch.allclose(found["caption_logits"], theirs["logits"], atol=1e-6)
    assert torch.equal(found["caption_ids"], theirs["labels"])
    loss = CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=0.0, pad_id=0)
    _, expected = loss(
        theirs["image_features"],
        theirs["text_features"],
        theirs["logits"],
        theirs["labels"],
        theirs["logit_scale"],
    )
    objective = Captioning()
    assert torch.allclose(objective.weight * objective(found), expected, atol=1e-6)


def test_the_vocabulary_projection_is_initialised(coca, head):
    for projection in (
        coca.clip.text_decoder.text_projection,
        head.captioner.decoder.text_projection,
    ):
        assert projection.std().item() == pytest.approx(16**-0.5, rel=0.1)


@pytest.mark.parametrize("which", ["head", "coca"])
@torch.no_grad()
def test_a_score_depends_on_the_picture_and_on_no_later_token(which, request):
    model = request.getfixturevalue(which)
    signals = inputs(15 if which == "coca" else 16)
    before = model(signals)["caption_logits"]
    changed = signals["tokens"].clone()
    changed[:, 6] = 7
    after = model({**signals, "tokens": changed})["caption_logits"]
    assert torch.allclose(after[:, :6], before[:, :6], atol=1e-6)
    assert not torch.allclose(after[:, 6], before[:, 6], atol=1e-4)
    other = model({**signals, "pixels": 255 - signals["pixels"]})["caption_logits"]
    assert not torch.allclose(other[:, 0], before[:, 0], atol=1e-5)


@torch.no_grad()
def test_trimmed_texts_have_the_same_scores(head):
    signals = inputs(16)
    whole = head(signals)["caption_logits"]
    short = head({**signals, "tokens": signals["tokens"][:, :13]})["caption_logits"]
    assert torch.allclose(short, whole[:, :12], atol=1e-6)


def written_ids(model, tokenizer, pixels, **how):
    rows = generate(model, tokenizer, pixels, Generation(max_length=8, **how))
    return rows, tokenizer(rows)


def next_scores(model, tokenizer, pixels, tokens):
    """Log probabilities after each of the texts [n, L] about one picture, [n, V]."""
    _, image = model.image_tower(pixels)
    _, states = model.text_tower(tokens)
    logits = model.decode(image.expand(len(tokens), -1, -1), states)[:, -1]
    logits[:, [tokenizer.pad_id, tokenizer.start_id]] = -torch.inf
    return F.log_softmax(logits, -1)


@torch.no_grad()
def test_writing(head):
    tokenizer = build_tokenizer(head.description.model_cfg)
    pixels = inputs(16)["pixels"]
    greedy, ids = written_ids(head, tokenizer, pixels)
    found = head({"pixels": pixels, "tokens": ids})["caption_logits"]
    found[..., [tokenizer.pad_id, tokenizer.start_id]] = -torch.inf
    for row, text in enumerate(greedy):
        length = len(text.split())
        assert found[row, :length].argmax(-1).tolist() == ids[row, 1 : length + 1].tolist()
    assert written_ids(head, tokenizer, pixels, method="beam", beams=1)[0] == greedy
    assert written_ids(head, tokenizer, pixels, method="top_p", top_p=1e-6)[0] == greedy
    sampled = written_ids(head, tokenizer, pixels, method="top_p", top_p=0.9, seed=1)[0]
    assert written_ids(head, tokenizer, pixels, method="top_p", top_p=0.9, seed=1)[0] == sampled
    assert written_ids(head, tokenizer, pixels, method="top_p", top_p=0.9, seed=2)[0] != sampled


@torch.no_grad()
def test_a_sample_depends_on_its_place_and_not_on_its_batch(head):
    tokenizer = build_tokenizer(head.description.model_cfg)
    pixels = inputs(16, rows=1)["pixels"].expand(6, -1, -1, -1)

    def sampled(first, last):
        how = {"method": "top_p", "seed": 7 + first}
        return written_ids(head, tokenizer, pixels[first:last], **how)[0]

    whole = sampled(0, 6)
    assert [*sampled(0, 1), *sampled(1, 3), *sampled(3, 6)] == whole
    assert len(set(whole)) == 6  # one picture six times: draws of their own


def test_samples_are_as_frequent_as_they_are_likely_within_the_nucleus():
    chances = torch.tensor([0.1, 0.5, 0.05, 0.35])
    draws = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    scores = chances.log().expand(1000, -1)
    found = _nucleus(scores, Generation(method="top_p", top_p=0.8), draws).bincount(minlength=4)
    assert found.tolist() == [0, 588, 0, 412]  # 0.5 and 0.35 hold more than 0.8
    everything = _nucleus(scores, Generation(method="top_p", top_p=1.0), draws)
    assert everything.bincount().tolist() == pytest.approx([100, 500, 50, 350], abs=1)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_the_vocabulary_finds_the_likeliest_text(tmp_path, seed):
    torch.manual_seed(seed)
    model = build_model(ModelConfig(arch=worded(tmp_path), captioner=HEAD)).eval()
    tokenizer = build_tokenizer(model.description.model_cfg)
    pixels = inputs(16, rows=1)["pixels"]
    start = torch.tensor([[tokenizer.start_id]])
    first = next_scores(model, tokenizer, pixels, start)[0]  # [V]
    words = torch.arange(90)[:, None]
    second = next_scores(model, tokenizer, pixels, torch.cat([start.expand(90, 1), words], 1))
    total = first[:, None] + second  # [V, V], all texts of two tokens
    total[tokenizer.end_id] = -torch.inf  # nothing follows the end
    total[tokenizer.end_id, 0] = first[tokenizer.end_id]
    best = divmod(int(total.argmax()), 90)
    expected = tokenizer.decode([t for t in best if t not in (tokenizer.end_id, 0)])
    how = Generation(method="beam", beams=89, max_length=2, length_penalty=0.0)
    assert generate(model, tokenizer, pixels, how) == [expected]


def test_a_published_head_loads_and_open_clip_loads_the_towers(tmp_path, head):
    tokenizer = build_tokenizer(head.description.model_cfg)
    folder = tmp_path / "published"
    folder.mkdir()
    facts = {"weights": "last", "samples_seen": 0, "step": 0, "recipe": {}}
    publish(folder, published_state(head), head.description, tokenizer, facts)
    encoder = vlp.load(folder)
    pictures = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    own = Encoder(head, tokenizer)
    assert encoder.captions
    assert encoder.caption(pictures, max_length=5) == own.caption(pictures, max_length=5)
    clip = open_clip.create_model(f"local-dir:{folder}")
    assert torch.equal(clip.visual.proj, head.clip.visual.proj)


def test_towers_that_cannot_caption_are_named(tmp_path, tiny_arch):
    plain = Encoder(build_model(ModelConfig(arch=tiny_arch)), build_tokenizer(TINY))
    with pytest.raises(ValueError, match="has no captioning decoder; train one with"):
        plain.caption([Image.new("RGB", (20, 20))])
    timm = {"timm_model_name": "test_byobnet", "timm_pool": "avg", "timm_proj": "linear"}
    with pytest.raises(ValueError, match=r"TimmModel gives no tokens to caption from.*ViT-B-32"):
        build_model(ModelConfig(arch=write(tmp_path, vision_cfg=timm), captioner=HEAD))
    arch = write(tmp_path, text_cfg={"no_causal_mask": True})
    with pytest.raises(ValueError, match="the text tower is not causal"):
        build_model(ModelConfig(arch=arch, captioner=HEAD))
    with pytest.raises(ValueError, match="heads 3 does not divide the text width 16"):
        build_model(ModelConfig(arch=tiny_arch, captioner=CaptionerConfig(heads=3)))
    with pytest.raises(ValueError, match="choices are greedy, top_p, beam"):
        Generation(method="best")
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        Generation(seed=-1)


def test_special_tokens_of_any_tokenizer():
    clip = build_tokenizer(TINY)
    assert (clip.pad_id, clip.start_id, clip.end_id) == (0, 49406, 49407)
    words = build_tokenizer({"text_cfg": {"context_length": 12, "hf_tokenizer_name": WORDS}})
    assert (words.pad_id, words.start_id, words.end_id) == (0, 2, 89)
    ids = words(["a small red circle"])[0].tolist()
    assert words.decode(ids[1 : ids.index(89)]) == "a small red circle"
    ids = clip(["a small red circle!"])[0].tolist()
    assert clip.decode(ids[1 : ids.index(49407)]) == "a small red circle !"


def test_another_padding_than_the_tokenizers_is_refused():
    with pytest.raises(ValueError, match=r"pad_id 0 is not the tokenizer's padding; set pad_id: 1"):
        Captioning().prepare(Facts(samples=1, pad_id=1))
