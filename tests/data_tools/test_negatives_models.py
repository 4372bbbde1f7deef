"""Near misses by models: filled masks, answers of a language model, and a causal judge."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from data_tools.build import Build, build
from data_tools.near_misses.captions import Caption
from data_tools.near_misses.fill_mask import Filler
from data_tools.near_misses.judges import CausalModel
from data_tools.near_misses.llm import edits_between, verdict
from data_tools.near_misses.masks import masks
from data_tools.near_misses.parsing import Parsed
from data_tools.near_misses.picture import Picture
from data_tools.near_misses.tokens import applied
from data_tools.negatives import Negatives, negatives
from data_tools.rewriting.backends import Answer, BackendOptions
from tests.data_tools.conftest import jpeg
from tests.data_tools.rewrite_models import language_model
from vlp.data.index import sidecar_path
from vlp.errors import InputError

CAPTIONS = [
    ["A black dog is running on the beach .", "the dog near a wave"],
    ["An old man sits in a wooden boat"],
    ["Three girls are jumping over a puddle"],
    ["word"],
]
PLURALS = ("dogs", "cats", "girls", "boys")
PIECES = (
    "a the is are on in under behind black white old young small dog dogs cat cats man woman girl "
    "girls boys boat car table beach park running jumping sleeping sits stands over puddle wave "
    "##ing ##s zebra lion hat rain water red"
)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    rows = ["image\tcaption"]
    for place, captions in enumerate(CAPTIONS):
        (tmp_path / f"{place}.jpg").write_bytes(jpeg(place))
        rows += [f"{place}.jpg\t{caption}" for caption in captions]
    (tmp_path / "t.tsv").write_text("\n".join(rows) + "\n")
    build(Build(input=tmp_path / "t.tsv", output=tmp_path / "data", workers=1))
    return tmp_path / "data"


def bert(folder: Path) -> Path:
    """A BERT with random weights and a vocabulary of words and pieces."""
    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *PIECES.split(), "."]) + "\n")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=64, **sizes)
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def roberta(folder: Path) -> Path:
    """A RoBERTa with random weights and byte-level BPE, where words begin with a mark."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<mask>"]
    text = " ".join(piece for piece in PIECES.split() if piece.isalpha())
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([f" {text}"] * 3, trainer)
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=ends
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.add_special_tokens({"mask_token": "<mask>"})
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = RobertaConfig(
        vocab_size=len(fast), intermediate_size=64, max_position_embeddings=80, pad_token_id=1,
        **sizes,
    )  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def rows(shards: Path, name: str = "negatives") -> list[dict]:
    return pq.read_table(sidecar_path(shards / "00000.tar", name)).to_pylist()


@pytest.mark.parametrize("make", [bert, roberta])
def test_masks_are_filled_with_whole_words(
    shards: Path, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    model = str(make(tmp_path / "model"))
    options = {"shards": [str(shards)], "mode": "fill-mask", "model": model, "top_k": 40}
    negatives(Negatives(**options, captions="all", workers=1))
    found = rows(shards)
    words = {piece for piece in PIECES.split() if piece.isalpha()}
    made = [pair for row in found for pair in zip(row["originals"], row["texts"], strict=True)]
    assert len(made) > 5
    for original, text in made:
        old, new = original.split(), text.split()
        changed = [
            (one, other) for one, other in zip(old, new, strict=True)
            if one != other and other.lower() not in ("a", "an")
        ]  # fmt: skip
        assert len(changed) == 1
        one, other = changed[0]
        assert other.lower() in words
        assert other.lower()[:3] != one.lower()[:3]
        assert (other in PLURALS) == (one in PLURALS)
    assert found[3]["texts"] == []
    path = sidecar_path(shards / "00000.tar", "negatives")
    first = path.read_bytes()
    path.unlink()
    negatives(Negatives(**options, captions="all", workers=1))
    assert path.read_bytes() == first


@pytest.mark.parametrize("make", [bert, roberta])
def test_proposals_are_the_models_likeliest(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path / "model")
    filler = Filler(BackendOptions(backend="transformers", model=str(folder)))
    texts = [("a black ", " is running"), ("the old man sits in a ", " boat on the beach")]
    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    for text, found in zip(texts, filler.proposals(texts, 12), strict=True):
        ids = tokenizer(tokenizer.mask_token.join(text), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logits = model.eval()(ids).logits[0, ids[0].tolist().index(tokenizer.mask_token_id)]
        tokens = tokenizer.convert_ids_to_tokens(logits.topk(12).indices.tolist())
        own = [token.removeprefix("Ġ") for token in tokens if make is bert or token[0] == "Ġ"]
        assert found == [token for token in own if token.isalpha() and len(token) > 1
                         and token not in tokenizer.all_special_tokens]  # fmt: skip
    assert filler.proposals([("a [MASK] <mask> ", " " + "dog " * 900)], 5) == [[]]


def test_kinds_of_masks() -> None:
    parsed = Parsed.of("A small dog is running on the beach in front of two men")
    found = {parsed.words.lower[mask.place]: mask.kind for mask in masks(parsed)}
    assert found == {
        "small": "fill-adjective",
        "dog": "fill-noun",
        "running": "fill-verb",
        "on": "fill-preposition",
        "beach": "fill-noun",
        "men": "fill-noun",
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("A black cat runs on the sand", ""),
        ('"A black cat runs on the sand"', ""),
        ("A black dog runs on the sand.", "echo"),
        ("A black dog runs on the beach", "true by another caption"),
        ("A black hound runs on the sand", "true by another caption"),
        ("A black animal runs on the sand", "true by another caption"),
        ("A black dog does not run on the sand", "a negation"),
        ("Some birds fly above a quiet lake", "too many words changed"),
        ("I'm sorry, I cannot help with that.", "refusal"),
        ("", "empty"),
    ],
)
def test_verdicts(answer: str, reason: str) -> None:
    texts = ["A black dog runs on the sand", "a black dog runs on the beach", "an animal"]
    parsed = [Parsed.of(text) for text in texts]
    caption = Caption("0", 0, parsed[0], Picture.of(parsed))
    assert verdict(caption, "llm-noun", Answer(answer)) == reason


def test_a_negation_is_one_where_it_is_asked_for() -> None:
    parsed = Parsed.of("A black dog runs on the sand")
    caption = Caption("0", 0, parsed, Picture.of([parsed]))
    assert not verdict(caption, "llm-negation", Answer("A black dog does not run on the sand"))


@pytest.mark.parametrize(
    ("old", "new"),
    [("a dog runs .", "a cat runs ."), ("a dog", "the big dog!"), ("x", ""), ("a b c", "c b a")],
)
def test_edits_between_give_the_other_text(old: str, new: str) -> None:
    assert applied(old, edits_between(old, new)) == new


def test_answers_become_near_misses(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [
        row["key"] for row in pq.read_table(sidecar_path(shards / "00000.tar", "index")).to_pylist()
    ]
    answers = [
        {"key": keys[0], "answers": ["A black cat is running on the beach .", "same caption"]},
        {"key": keys[1], "answers": ["An old man sits in a wooden boat", "I cannot do that."]},
        {"key": keys[2], "answers": ["Three girls are jumping over a hose"] * 2},
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(map(json.dumps, answers)) + "\n")
    options = {"shards": [str(shards)], "mode": "llm", "backend": "replay", "per_caption": 2}
    negatives(Negatives(**options, answers=file, kinds="llm-noun", workers=1))
    found = rows(shards)
    assert found[0]["texts"] == ["A black cat is running on the beach ."]
    assert found[0]["replaced"] == [["dog"]]
    assert found[0]["by"] == [["cat"]]
    assert [row["texts"] for row in found[1:]] == [[], ["Three girls are jumping over a hose"], []]
    printed = capsys.readouterr().out
    assert printed.startswith("4 captions = 2 with near misses + 1 without (answers: echo)")
    assert "1 without (answers: failed)" in printed


def test_a_causal_model_judges(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = language_model(tmp_path / "lm")
    judge = CausalModel(BackendOptions(backend="transformers", model=str(folder)))
    texts = ["a dog runs over the green grass", "two men", ""]
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    for text, found in zip(texts, judge.log_likelihood(texts), strict=True):
        ids = torch.tensor([[0, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.inference_mode():  # the loss is the mean over all tokens but the first
            wanted = -float(model.eval()(ids, labels=ids).loss) if ids.shape[1] > 1 else 0.0
        assert found == pytest.approx(wanted, abs=1e-5)
    options = {"shards": [str(shards)], "captions": "all", "workers": 1, "device": "cpu"}
    negatives(Negatives(**options, blind_test=str(folder)))
    printed = capsys.readouterr().out
    assert f"blind test by {folder} (0.5: the text gives nothing away):" in printed
    number = sum(len(row["texts"]) for row in rows(shards))
    assert re.search(rf"  all +{number}  [01]\.\d", printed)


def test_models_of_another_kind_are_refused(shards: Path, tmp_path: Path) -> None:
    folder = language_model(tmp_path / "lm")
    options = {"shards": [str(shards)], "mode": "fill-mask", "workers": 1}
    with pytest.raises(InputError, match="no mask"):
        negatives(Negatives(**options, model=str(folder)))
    with pytest.raises(InputError, match="no such folder"):
        negatives(Negatives(**options, model=str(tmp_path / "none")))
    with pytest.raises(InputError, match="--retry-failed: --mode fill-mask does not use it"):
        negatives(Negatives(**options, model=str(folder), retry_failed=True))


def test_a_folder_without_tokenizer_or_with_broken_weights_judges_nothing(
    shards: Path, tmp_path: Path
) -> None:
    folder = language_model(tmp_path / "lm")
    options = {"shards": [str(shards)], "workers": 1, "blind_test": str(folder)}
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    with pytest.raises(InputError, match=f"{folder}: SafetensorError"):
        negatives(Negatives(**options))
    weights.write_bytes(whole)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(InputError, match=str(folder)):
        negatives(Negatives(**options))
