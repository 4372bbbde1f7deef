"""Prompts: what stands where, whatever a caption holds; answers saved and read again."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.rewriting.answer_log import AnswerLog
from data_tools.rewriting.asking import ask_all
from data_tools.rewriting.backends import Answer, Prompt, prompt_key
from data_tools.rewriting.templates import PRESETS, read_template
from vlp.errors import InputError

NASTY = st.text(alphabet=st.sampled_from("ab =>\n{}otherimagecaption\"'"), max_size=40)


@given(NASTY, st.integers(0, 5))
def test_an_in_context_prompt_has_four_lines_whatever_the_caption(caption, seed):
    prompt = PRESETS["examples-vivid"].prompt({"caption": caption}, seed, caption)
    header, *blocks, last = prompt.completion.split("\n\n")
    assert header.startswith("Say each image caption")
    assert len(blocks) == 3
    assert all(block.count("=>") == 1 and "\n" not in block for block in blocks)
    assert last.endswith(" =>")
    assert last.count("=>") == 1
    assert last.removesuffix(" =>") == " ".join(caption.split()).replace("=>", "->")
    assert [role for role, _ in prompt.messages] == ["user", "assistant"] * 3 + ["user"]
    assert prompt.messages[-1][1] == last.removesuffix(" =>")


def test_examples_are_drawn_by_seed_caption_and_variant():
    template = PRESETS["examples-fluent"]

    def shown(seed, *names):
        return template.prompt({"caption": "x"}, seed, *names).completion

    assert shown(0, "a", "0") == shown(0, "a", "0")
    assert (
        len({shown(0, "a", "0"), shown(1, "a", "0"), shown(0, "b", "0"), shown(0, "a", "1")}) == 4
    )
    blocks = [shown(seed).split("\n\n")[1:4] for seed in range(50)]
    assert all(len(set(block)) == 3 for block in blocks)  # without replacement
    assert {pair for block in blocks for pair in block} == {
        f"{caption} => {rewrite}" for caption, rewrite in template.examples
    }


def test_every_preset_makes_a_prompt():
    for name, template in PRESETS.items():
        texts = {place: f"TEXT {place}" for place in ("caption", "other") if template.uses(place)}
        prompt = template.prompt(texts, 0)
        asked = prompt.messages[-1][1]
        assert all(text in asked for text in texts.values()), name
        assert "{" not in asked + (prompt.completion or "")


def test_a_template_from_a_file(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("Translate: {caption} ({other})\n")
    prompt = read_template(file).prompt({"caption": "{other}", "other": "x"}, 0)
    assert prompt.messages == (("user", "Translate: {other} (x)"),)
    assert prompt.completion == "Translate: {other} (x)"
    both = tmp_path / "mine.json"
    both.write_text(json.dumps({"instruction": "Say {caption}", "completion": "{caption}:"}))
    assert read_template(both).prompt({"caption": "x"}, 0).completion == "x:"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.txt", "no place", "no placeholder"),
        ("t.txt", "{Caption}", "unknown {Caption}"),
        ("t.json", "{", "Expecting"),
        ("t.json", '{"instruction": "{caption}"}', "expected the texts"),
        ("none/t.txt", None, "No such file"),
    ],
)
def test_a_file_that_is_no_template(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_template(tmp_path / name)


def test_the_key_of_a_prompt_hangs_on_all_that_decides_its_answer():
    prompt = Prompt((("user", "x"),), "x", key="")
    changed = [
        ({"model": "n"}, prompt, ("0", "0")),
        ({"model": "m"}, dataclasses.replace(prompt, messages=(("user", "y"),)), ("0", "0")),
        ({"model": "m"}, dataclasses.replace(prompt, completion="y"), ("0", "0")),
        ({"model": "m"}, dataclasses.replace(prompt, image=b"1"), ("0", "0")),
        ({"model": "m"}, prompt, ("1", "0")),
        ({"model": "m"}, prompt, ("0", "1")),
    ]
    keys = {prompt_key(identity, asked, *names) for identity, asked, names in changed}
    own = prompt_key({"model": "m"}, prompt, "0", "0")
    assert len(keys | {own}) == len(changed) + 1
    elsewhere = dataclasses.replace(prompt, sample="s", place=3)
    assert prompt_key({"model": "m"}, elsewhere, "0", "0") == own


class Counting:
    """Answers by the group's size, counts, and dies when it is told to."""

    is_by_sample = False

    def __init__(self, group, is_grouped, dies_after=None):
        self.group, self.is_grouped, self.left = group, is_grouped, dies_after
        self.asked = []

    def answer(self, prompts):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        self.asked += [prompt.key for prompt in prompts]
        together = len(prompts) if self.is_grouped else 0
        return [Answer(f"{prompt.key} of {together}") for prompt in prompts]


def prompts(count):
    return [Prompt((("user", "x" * (n % 7)),), "", key=str(n)) for n in range(count)]


@pytest.mark.parametrize("is_grouped", [True, False])
def test_a_run_that_is_killed_asks_nothing_twice_and_ends_as_one_that_is_not(tmp_path, is_grouped):
    expected = ask_all(prompts(50), Counting(4, is_grouped), AnswerLog(tmp_path / "whole"))
    log = AnswerLog(tmp_path / "cut")
    first = Counting(4, is_grouped, dies_after=6)
    with pytest.raises(KeyboardInterrupt):
        ask_all(prompts(50), first, log)
    with open(log.path, "ab") as file:
        file.write(b'{"key": "7", "text": "ha')  # the line that was being written
    second = Counting(4, is_grouped)
    assert ask_all(prompts(50), second, log) == expected
    assert len(first.asked) == 24
    assert sorted(first.asked + second.asked) == sorted(str(n) for n in range(50))
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_group_that_was_half_saved_is_asked_whole_by_a_model_that_answers_in_groups(tmp_path):
    log = AnswerLog(tmp_path / "log")
    log.append([("0", Answer("kept"))])
    backend = Counting(4, is_grouped=True)
    found = ask_all(prompts(4), backend, log)
    assert sorted(backend.asked) == ["0", "1", "2", "3"]
    assert found["0"] == Answer("kept")
    assert found["1"] == Answer("1 of 4")
    assert log.read() == found


def test_equal_prompts_are_asked_once_and_failures_are_not_saved(tmp_path):
    class Failing(Counting):
        def answer(self, asked):
            answers = super().answer(asked)
            return [
                Answer(error="no") if p.key == "1" else a
                for p, a in zip(asked, answers, strict=True)
            ]

    backend = Failing(4, is_grouped=False)
    log = AnswerLog(tmp_path / "log")
    found = ask_all([*prompts(3), *prompts(3)], backend, log)
    assert sorted(backend.asked) == ["0", "1", "2"]
    assert found["1"].error == "no"
    assert set(log.read()) == {"0", "2"}
    ask_all(prompts(3), backend, log)
    assert backend.asked[3:] == ["1"]


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=20)), max_size=8), st.data())
def test_a_log_cut_anywhere_holds_the_answers_before_the_cut(tmp_path_factory, rows, data):
    log = AnswerLog(tmp_path_factory.mktemp("log") / "l")
    log.append((key, Answer(text)) for key, text in rows)
    if not rows:
        assert log.read() == {}
        return
    whole = log.path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    log.path.write_bytes(whole[:cut])
    lines = whole[:cut].count(b"\n")
    expected = {}
    for key, text in rows[:lines]:
        expected.setdefault(key, Answer(text))
    assert log.read() == expected
    assert log.path.read_bytes().endswith(b"\n") or not lines
