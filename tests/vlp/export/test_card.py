"""The model card: what it says of model, training and results, and that data stay data."""

import json
import re

import pytest
import yaml

import vlp
from tests.vlp.export.cards import programs, run_programs
from tests.vlp.export.tiny import CLIP, PREPROCESSING, open_clip_features, pictures, write_model
from vlp.checkpoint import publish, published_state
from vlp.errors import InputError
from vlp.export.exporting import export_model
from vlp.export.markdown import Raw, escaped, fenced
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer

RECIPE = {
    "batch": 256,
    "precision": "bf16",
    "optim": {"lr": 0.001},
    "data": {"sources": {"mine": {"shards": "data/mine", "weight": 2.0}}},
    "objectives": {
        "main": {"class_path": "vlp.objectives.InfoNCE", "init_args": {"weight": 1.0}},
        "extra": {"class_path": "mine.Loss"},
    },
    "model": {"weights": "ViT-B-32/openai"},
}
RESULT = {
    "dataset": "shapes",
    "split": "test",
    "task": "retrieval",
    "metrics": {"recall@1": 0.25, "recall@5": 0.5, "median_rank": 7.0, "words": None},
    "ci95": {"recall@1": [0.2, 0.31], "recall@5": None},
    "chance": {"recall@1": 0.01, "recall@5": 0.05},
    "n": {"images": 1000, "texts": 5000, "classes": None},
    "protocol": {"precision": "bf16"},
}


@pytest.fixture
def run(tmp_path):
    """A run with one checkpoint and one result; `.model` is its folder."""
    return make_run(tmp_path / "run", RECIPE)


def make_run(run, recipe, name="tiny"):
    folder = run / "checkpoints/step-000000012/model"
    folder.mkdir(parents=True)
    (folder.parent / "complete.json").write_text("{}")
    arch = run / "arch.json"
    arch.write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": PREPROCESSING}))
    model = build_model(ModelConfig(arch=str(arch)))
    model.rename(name)
    facts = {"weights": "ema", "samples_seen": 3072, "step": 12, "recipe": recipe}
    tokenizer = build_tokenizer(CLIP)
    mark = publish(folder, published_state(model), model.description, tokenizer, facts)
    (run / "eval/bench").mkdir(parents=True)
    add_result(run, mark)
    return run


def add_result(run, fingerprint, **more):
    with open(run / "eval/bench/results.jsonl", "a") as file:
        file.write(json.dumps({**RESULT, **more, "checkpoint": {"sha256": fingerprint}}) + "\n")


def card_of(run, output, **options):
    export_model(run, "open_clip", output, **options)
    return (output / "README.md").read_text(encoding="utf-8")


def rows(text):
    """{first cell: the others} of all tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {own[0]: own[1:] for own in cells}


def test_a_card_says_what_the_model_is_and_how_it_was_trained(run, tmp_path):
    text = card_of(run, tmp_path / "my_model")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "open_clip"
    assert front["pipeline_tag"] == "zero-shot-image-classification"
    assert "license" not in front
    assert text.split("---\n")[2].strip().startswith("# my\\_model\n")
    found = rows(text)
    encoder = vlp.load(run, device="cpu")
    assert found["fingerprint"] == [encoder.fingerprint]
    every = sum(p.numel() for p in encoder.model.parameters())
    image = sum(p.numel() for p in encoder.model.clip.visual.parameters())
    assert found["parameters"] == [f"{every:,}, of these {image:,} in the image tower"]
    assert found["pictures"] == ["32 x 32 pixels, RGB"]
    assert found["texts"] == ["20 tokens, start and end included; longer ones are cut"]
    assert found["samples seen"] == ["3,072 in 12 steps"]
    assert found["objectives"] == ["extra: Loss; main: InfoNCE (weight 1.0)"]
    assert found["data: mine"] == ["data/mine, weight 2.0"]
    assert found["trained from"] == ["ViT-B-32/openai"]
    whole = re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert yaml.safe_load(whole[1]) == RECIPE


def test_results_come_with_their_intervals(run, tmp_path):
    text = card_of(run, tmp_path / "out")
    lines = [line for line in text.splitlines() if line.startswith("| shapes")]
    assert lines == [
        "| shapes | test | retrieval | recall@1 | 0.25 | 0.2 to 0.31 | 0.01 "
        "| 1,000 images / 5,000 texts | bf16 |",
        "| shapes | test | retrieval | recall@5 | 0.5 | – | 0.05 "
        "| 1,000 images / 5,000 texts | bf16 |",
    ]


def test_results_of_a_file_must_be_of_this_model(run, tmp_path):
    other = tmp_path / "results.jsonl"
    own = vlp.load(run, device="cpu").fingerprint
    records = [{**RESULT, "checkpoint": {"sha256": "0123456789abcdef"}}]
    other.write_text(json.dumps(records[0]) + "\n")
    with pytest.raises(InputError, match=r"none of its 1 results is of this model.*0123456789ab$"):
        export_model(run, "open_clip", tmp_path / "out", results=other)
    records.append({**RESULT, "dataset": "mine", "checkpoint": {"sha256": own}})
    other.write_text("\n".join(map(json.dumps, records)))
    text = card_of(run, tmp_path / "out", results=other)
    assert "| mine | test |" in text
    assert "| shapes |" not in text


def test_a_model_of_which_nothing_is_known_says_so(tmp_path):
    text = card_of(write_model(tmp_path / "model"), tmp_path / "out")
    assert "does not say how it was trained" in text
    assert "was not evaluated" in text


def test_a_card_does_not_say_where_on_the_machine_things_were(run, tmp_path):
    sources = {
        "mine": {"shards": ["/home/me/cc/{0..9}.tar", "~/x/", "s3://bucket/cc"]},
        "far": {"shards": "C:\\me\\shards", "sidecars": ["/home/me/quality"]},
    }
    recipe = {**RECIPE, "run": "/home/me/runs/x", "data": {"sources": sources}}
    own = make_run(tmp_path / "own", recipe)
    card_of(own, tmp_path / "out")
    assert not any(b"/me/" in path.read_bytes() for path in (tmp_path / "out").iterdir())
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    whole = yaml.safe_load(re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1])
    assert whole["run"] == ".../x"
    found = {name: source["shards"] for name, source in whole["data"]["sources"].items()}
    assert found == {"mine": [".../{0..9}.tar", ".../x", "s3://bucket/cc"], "far": ".../shards"}
    assert "only the names are shown" in text
    assert "only the names are shown" not in card_of(run, tmp_path / "other")


NASTY = "a|b `c` ``` <script>x</script> [d](http://e) *f* \n# g\n---\n| h |"


def test_what_comes_from_data_cannot_become_markup(tmp_path):
    recipe = {**RECIPE, "data": {"sources": {NASTY: {"shards": NASTY}}}}
    run = make_run(tmp_path / "run", recipe, name=NASTY)
    add_result(run, vlp.load(run, device="cpu").fingerprint, dataset=NASTY)
    text = card_of(run, tmp_path / "out")
    outside, _, rest = text.partition("````yaml\n")
    whole, _, after = rest.partition("\n````\n")
    assert yaml.safe_load(whole)["data"]["sources"] == {NASTY: {"shards": NASTY}}
    for part in (outside, after):
        assert "<script>" not in part
        assert not re.search(r"(?<!\\)\[d", part)
        assert not re.search(r"^(# g|\| h)", part, re.MULTILINE)
    table = [line for line in after.splitlines() if line.startswith("| a")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {10}


def test_markdown_escapes_all_but_what_is_markdown():
    assert escaped("a_b *c*") == r"a\_b \*c\*"
    assert escaped("1 < 2 & 3\n4") == "1 &lt; 2 &amp; 3 4"
    assert escaped(Raw("*a*")) == "*a*"
    assert fenced("a ```` b") == "`````\na ```` b\n`````"


def test_programs_of_the_cards_run(run, tmp_path, monkeypatch):
    """Also the one that prepares pictures exactly as in training, where transformers does not."""
    export_model(run, "transformers", tmp_path / "out")
    assert len(programs(tmp_path / "out")) == 2
    image = pictures((35, 32))[0]  # which transformers crops a pixel beside
    names = run_programs(tmp_path / "out", image, monkeypatch)
    from PIL import Image

    saved = Image.open(tmp_path / "picture.jpg")
    model = run / "checkpoints/step-000000012/model"
    images, texts = open_clip_features(model, [saved], ["a photo of a dog", "a photo of a cat"])
    assert (names["texts"] - texts).abs().max() <= 1e-5
    assert (names["images"] - images).abs().max() > 1e-3
    found = names["model"].get_image_features(pixel_values=names["inputs"]["pixel_values"])
    found = getattr(found, "pooler_output", found)
    assert (found / found.norm(dim=-1, keepdim=True) - images).abs().max() <= 1e-5
