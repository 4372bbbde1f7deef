"""`rewrite` with models in this process: tiny ones with random weights, through the real path."""

import dataclasses
import shutil
from collections import Counter

import pytest
import torch

from data_tools.rewriting.backends import BackendOptions, Prompt, make_backend
from data_tools.rewriting.captioner import Captioner
from data_tools.rewriting.generation import KeyedSampling, LineEnd, fingerprint
from data_tools.rewriting.language_model import LanguageModel
from tests.data_tools.conftest import jpeg
from tests.data_tools.rewrite_models import captioner, chatting_captioner, language_model
from tests.data_tools.rewrite_shards import rewrites, shard
from tests.data_tools.trees import files


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a model without chat, one with chat and a captioner."""
    folder = tmp_path_factory.mktemp("models")
    language_model(folder / "lm")
    language_model(folder / "chat", chat=True)
    captioner(folder / "blip")
    chatting_captioner(folder / "llava")
    return folder


def prompt(text, key=None):
    return Prompt((("user", text),), text, key=key or text)


def options(models, name="lm", **more):
    fixed = {"backend": "transformers", "model": str(models / name), "max_new_tokens": 8}
    return BackendOptions(**{**fixed, **more})


def test_tokens_are_sampled_as_often_as_they_are_likely():
    torch.manual_seed(0)
    logits = torch.randn(1, 6) * 2
    kept = logits.div(0.7).softmax(-1)[0]
    order = kept.argsort(descending=True)
    # top-p: the fewest of the likeliest tokens whose shares reach 0.9
    nucleus = order[: int((kept[order].cumsum(0) < 0.9).sum()) + 1]
    expected = torch.zeros(6)
    expected[nucleus] = kept[nucleus] / kept[nucleus].sum()
    rows = 4000
    sampling = KeyedSampling([str(key) for key in range(rows)], 0.7, 0.9)
    drawn = sampling(torch.zeros(rows, 1, dtype=torch.long), logits.expand(rows, 6)).argmax(-1)
    shares = torch.bincount(drawn, minlength=6) / rows
    deviation = (expected * (1 - expected) / rows).sqrt()
    assert (shares - expected).abs().le(4.5 * deviation).all()
    assert set(drawn.tolist()) <= set(nucleus.tolist())


def test_an_answer_does_not_hang_on_the_prompts_beside_it(models):
    texts = ["a dog", "two men play a red guitar on a stage", "a child laughs", "New York"]
    model = LanguageModel(options(models))
    together = model.answer([prompt(text) for text in texts])
    alone = [model.answer([prompt(text)])[0] for text in texts]
    assert together == alone
    assert model.answer([prompt(text) for text in reversed(texts)]) == together[::-1]
    others = model.answer([prompt(text, key=f"{text}, again") for text in texts])
    assert all(one != two for one, two in zip(together, others, strict=True))


def test_without_temperature_the_answer_is_the_models_own_greedy_one(models):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models / "lm")
    model = AutoModelForCausalLM.from_pretrained(models / "lm")
    ids = tokenizer("a dog runs", return_tensors="pt")["input_ids"]
    for _ in range(8):
        likeliest = model(ids).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, likeliest], 1)
    expected = tokenizer.decode(ids[0, -8:], skip_special_tokens=True)
    (found,) = LanguageModel(options(models, temperature=0.0)).answer([prompt("a dog runs")])
    assert expected.startswith(found.text)
    assert found.text


def test_chat_models_get_their_template_and_others_the_completion(models):
    asked = Prompt((("user", "Say it"), ("assistant", "x"), ("user", "dog")), "dog =>", key="k")
    seen = []
    for name in ("lm", "chat"):
        model = LanguageModel(options(models, name))
        seen.append(model._text(asked))
    turns = "<|user|>Say it<|end|><|assistant|>x<|end|><|user|>dog<|end|><|assistant|>"
    assert seen == ["dog =>", turns]
    completion = LanguageModel(options(models, "chat", form="completion"))
    assert completion._text(asked) == "dog =>"


def test_a_prompt_that_is_too_long_is_an_error_and_not_cut(tmp_path):
    folder = language_model(tmp_path / "short", positions=24)
    model = make_backend(
        BackendOptions(backend="transformers", model=str(folder), max_new_tokens=8)
    )
    long, short = model.answer([prompt("dog " * 40), prompt("a dog")])
    assert long.error.endswith("the model takes 16")
    assert not short.error


def test_a_row_ends_with_the_first_line_break_after_some_text(models):
    tokenizer = LanguageModel(options(models))._tokenizer
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("ab\n", "\n\n\n")]
    tokens = torch.tensor([row[:3] for row in rows])
    assert LineEnd(tokenizer, 0)(tokens, None).tolist() == [True, False]


def test_a_fingerprint_changes_with_the_weights(models, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(models / "lm", folder)
    assert fingerprint(folder) == fingerprint(models / "lm")
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert fingerprint(folder) != fingerprint(models / "lm")


def run(command, tmp_path, models, *more, name="lm", preset="examples-fluent"):
    fixed = ("--backend", "transformers", "--model", models / name, "--preset", preset)
    limits = ("--max-new-tokens", 6, "--batch", 4, "--allow", "unfinished,garbled,short")
    return command("rewrite", tmp_path / "data", *fixed, *limits, *more)


@pytest.fixture
def data(tmp_path):
    for number in range(2):
        captions = {f"{number}{i}": f"dog {number} runs {'on ' * i}grass" for i in range(10)}
        shard(tmp_path / "data" / f"{number}.tar", captions)
    return tmp_path / "data"


def test_a_killed_run_goes_on_and_asks_nothing_twice(command, tmp_path, models, data, monkeypatch):
    shutil.copytree(data, tmp_path / "blank")
    assert run(command, tmp_path, models, "--workers", 1)[0] == 0
    expected = files(data)
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "blank", data)
    asked = Counter()
    answer = LanguageModel.answer

    def dying(self, prompts):
        if sum(asked.values()) > 9 and not asked["died"]:
            asked["died"] = 1
            raise KeyboardInterrupt
        asked.update(p.key for p in prompts)
        return answer(self, prompts)

    monkeypatch.setattr(LanguageModel, "answer", dying)
    assert run(command, tmp_path, models, "--workers", 1)[0] == 130
    code, out, _ = run(command, tmp_path, models, "--workers", 1)
    assert code == 0
    assert "20 answers (20 captions x 1)" in out
    del asked["died"]
    assert set(asked.values()) == {1}
    assert files(data) == expected


def test_two_workers_write_the_same_bytes(command, tmp_path, models, data):
    shutil.copytree(data, tmp_path / "blank")
    run(command, tmp_path, models, "--workers", 1)
    expected = files(data)
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "blank", data)
    assert run(command, tmp_path, models, "--workers", 2)[0] == 0
    assert files(data) == expected


def test_a_folder_of_saved_answers_serves_another_run(command, tmp_path, models, data, monkeypatch):
    more = ("--workers", 1, "--cache", tmp_path / "cache")
    run(command, tmp_path, models, *more)
    assert len(files(tmp_path / "cache")) == 2
    shutil.rmtree(data / "annotations" / "rewrites")
    monkeypatch.setattr(LanguageModel, "answer", None)
    code, out, _ = run(command, tmp_path, models, *more)
    assert code == 0
    assert "0 answers in" in out


def test_another_model_does_not_mix_with_the_first_ones_answers(command, tmp_path, models, data):
    run(command, tmp_path, models, "--workers", 1)
    code, _, err = run(command, tmp_path, models, "--workers", 1, name="chat")
    assert code == 2
    assert "model was" in err
    code, _, err = run(command, tmp_path, models, "--workers", 1, "--seed", 1)
    assert code == 2
    assert "seed was 0, is 1" in err


def test_pictures_are_captioned(command, tmp_path, models, data):
    code, out, _ = run(
        command, tmp_path, models, "--workers", 1, name="blip", preset="caption-short"
    )
    assert code == 0
    assert "20 answers (20 captions x 1)" in out
    found = rewrites(data / "0.tar")
    assert len({row["answers"][0] for row in found.values()}) > 3  # they hang on the picture
    assert any(row["texts"] for row in found.values())
    assert not any("[" in row["answers"][0] for row in found.values())


def test_captioners_that_chat_see_the_picture_and_the_text(models, monkeypatch):
    model = Captioner(options(models, "llava"))
    seen = []
    generate = type(model._model).generate
    monkeypatch.setattr(
        type(model._model),
        "generate",
        lambda self, **inputs: seen.append(inputs) or generate(self, **inputs),
    )
    asked = [
        dataclasses.replace(prompt(text, key=key), image=jpeg(number), completion=None)
        for text, key, number in [("a dog", "k", 0), ("a dog", "l", 1), ("a very long cat", "k", 2)]
    ]
    answers = model.answer(asked)
    texts = model._processor.tokenizer.batch_decode(seen[0]["input_ids"])
    shown = "<image>" * 4  # 32 pixels in patches of 16
    assert texts[2] == f"<s><|user|>{shown}a very long cat<|end|><|assistant|>"
    assert texts[0].endswith(f"<|end|><s><|user|>{shown}a dog<|end|><|assistant|>")  # on the left
    assert [model.answer([one])[0] for one in asked] == answers
    pictures = seen[0]["pixel_values"]
    assert not torch.equal(pictures[0], pictures[1])


def test_an_unreadable_picture_fails_alone(models):
    backend = make_backend(options(models, "blip"), has_images=True)
    asked = dataclasses.replace(prompt("", key="k"), image=b"no picture", completion="")
    (answer,) = backend.answer([asked])
    assert answer.error.startswith("unreadable picture: ")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--model", "nowhere/at all"), "--model nowhere/at all: no such folder"),
        (("--model", ""), "--backend transformers needs --model"),
        (("--form", "chat"), "has no chat template"),
        (("--device", "abacus"), "--device abacus: expected auto, cpu"),
        (("--preset", "caption-detailed"), "takes no pictures"),
        (("--variants", 2, "--temperature", 0, "--preset", "rephrase"), "would be the same"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    command, tmp_path, models, data, monkeypatch, more, message
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = run(command, tmp_path, models, "--workers", 1, *more)
    assert code == 2
    assert message in err


def test_a_folder_without_safetensors_is_refused(command, tmp_path, models, data):
    folder = tmp_path / "pickled"
    shutil.copytree(models / "lm", folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    code, _, err = run(command, tmp_path, tmp_path, "--workers", 1, name="pickled")
    assert code == 2
    assert "holds no *.safetensors" in err
