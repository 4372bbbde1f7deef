"""`rewrite` with answers from a file: what becomes of each, and what a run leaves behind."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_tools.rewriting.replay import prompt_sha256
from data_tools.rewriting.templates import PRESETS
from tests.data_tools.rewrite_shards import replay, rewrites, shard
from tests.data_tools.trees import files
from vlp.data.index import caption_sha256, sidecar_path
from vlp.data.source import Source, SourceConfig

CAPTIONS = {
    "a": "Two dogs => run\nin the snow",
    "b": "a child laughs at a clown",
    "c": "the Eiffel tower in Paris",
    "d": "three red apples on a plate",
    "e": "an old man reads",
}
ANSWERS = {
    "a": "Two dogs race through snow",
    "b": "I'm sorry, but I cannot help with that.",
    "c": "a tower of iron",
    "d": "Three red apples on a plate.",
}


@pytest.fixture
def tar(tmp_path):
    return shard(tmp_path / "data" / "00000.tar", CAPTIONS)


def arguments(tmp_path, *more, preset="rephrase", answers=None):
    file = replay(tmp_path / "answers.jsonl", answers or ANSWERS)
    data = tmp_path / "data"
    fixed = ["--backend", "replay", "--answers", file, "--preset", preset, "--workers", 1]
    return ["rewrite", data, *fixed, *more]


def test_every_answer_has_a_verdict_and_the_balance_names_them(command, tmp_path, tar):
    code, out, err = command(*arguments(tmp_path))
    assert (code, err) == (0, "")
    assert (
        "5 answers (5 captions x 1) = 1 good + 1 failed + 1 refusal + 1 echo + 1 lost-name" in out
    )
    assert "5 samples = 1 with texts + 4 with none" in out
    assert "1 failed: not in answers.jsonl" in out
    found = rewrites(tar)
    assert {key: row["verdicts"] for key, row in found.items()} == {
        "a": ["good"],
        "b": ["refusal"],
        "c": ["lost-name"],
        "d": ["echo"],
        "e": ["failed"],
    }
    assert found["c"]["values"] == ["eiffel, paris"]
    assert found["b"]["texts"] == []
    assert found["b"]["answers"] == [ANSWERS["b"]]
    assert found["a"]["src_sha256"] == caption_sha256(CAPTIONS["a"].encode())


def test_training_reads_the_sidecar(command, tmp_path, tar):
    command(*arguments(tmp_path))
    source = Source("s", SourceConfig(shards=str(tar), sidecars=["rewrites"]))
    read = [source.read(0, row).annotations for row in range(5)]
    assert read[0].rewrites == [("rewrites", ANSWERS["a"])]
    assert [len(sample.rewrites) for sample in read] == [1, 0, 0, 0, 0]
    assert not any(sample.missing for sample in read)


def test_allowed_verdicts_reject_nothing_and_nothing_is_asked_again(command, tmp_path, tar):
    command(*arguments(tmp_path))
    answers = sidecar_path(tar, "rewrites/.answers").read_bytes()
    code, _, err = command(*arguments(tmp_path, "--allow", "lost-name,echo"))
    assert code == 2
    assert "allow was [], is ['echo', 'lost-name']" in err
    code, out, _ = command(*arguments(tmp_path, "--allow", "lost-name,echo", "--restart"))
    assert code == 0
    assert "3 good + 1 failed + 1 refusal" in out
    assert sidecar_path(tar, "rewrites/.answers").read_bytes() == answers


def test_captions_of_a_sample_each(command, tmp_path):
    tar = shard(tmp_path / "data" / "0.tar", {"k": ["a dog", "a brown dog"], "n": None})
    given = {"k": ["one hound", "it is a hound", "a brown hound", "one hound"]}
    more = ("--captions", "all", "--variants", 2)
    code, out, _ = command(*arguments(tmp_path, *more, answers=given))
    assert code == 0
    assert "4 answers (2 captions x 2) = 3 good + 1 repeats-variant" in out
    assert "2 samples = 1 with texts + 1 without a caption to ask about" in out
    row = rewrites(tar)["k"]
    assert row["captions"] == [0, 0, 1, 1]
    assert row["variants"] == [0, 1, 0, 1]
    assert row["texts"] == given["k"][:3]
    assert row["sources"] == [0, 1, 2]
    assert rewrites(tar)["n"]["texts"] == []


def test_failed_answers_are_asked_again_and_the_others_are_not(command, tmp_path, tar):
    command(*arguments(tmp_path))
    before = rewrites(tar)
    changed = ANSWERS | {"a": "Two hounds in snow", "e": "a grandfather with his book"}
    # the same file is another one by its content, so give answers another identity
    code, _, err = command(*arguments(tmp_path, "--retry-failed", answers=changed))
    assert code == 2
    assert "answers was" in err
    code, out, _ = command(*arguments(tmp_path, "--retry-failed", answers=ANSWERS))
    assert code == 0
    assert rewrites(tar) == before
    assert "1 failed" in out


def test_one_answer_for_many_captions_is_no_rewrite(command, tmp_path):
    captions = {f"k{number}": f"picture of thing {number + 2}" for number in range(30)}
    mixed = dict.fromkeys(list(captions)[:25], "a lovely view of it")
    mixed |= {key: f"a thing, {captions[key].split()[-1]}" for key in list(captions)[25:]}
    for number in range(3):
        keys = list(captions)[number::3]
        shard(tmp_path / "data" / f"{number}.tar", {key: captions[key] for key in keys})
    more = ("--allow", "lost-number")
    _, out, _ = command(*arguments(tmp_path, *more, answers=mixed))
    assert "= 5 good + 25 duplicate-answer" in out
    assert "more than 20 different captions got: 1; 25 got the commonest, 'a lovely view" in out
    more = (*more, "--max-same", 25)
    code, _, err = command(*arguments(tmp_path, *more, answers=mixed))
    assert code == 2
    assert "max_same was 0, is 25" in err
    _, out, _ = command(*arguments(tmp_path, *more, "--restart", answers=mixed))
    assert "30 good" in out


def test_equal_captions_may_get_equal_answers(command, tmp_path):
    captions = dict.fromkeys((f"k{number}" for number in range(30)), "a stock photo of a cat")
    shard(tmp_path / "data" / "0.tar", captions)
    _, out, _ = command(*arguments(tmp_path, answers=dict.fromkeys(captions, "one cat, posing")))
    assert "30 answers (30 captions x 1) = 30 good" in out


def test_shards_that_are_added_change_what_is_a_repeat(command, tmp_path):
    answers = {f"k{number}": "a view" for number in range(30)}
    first = shard(tmp_path / "data" / "0.tar", {f"k{n}": f"it is {n}" for n in range(15)})
    more = ("--allow", "lost-number")
    _, out, _ = command(*arguments(tmp_path, *more, answers=answers))
    assert "15 good" in out
    shard(tmp_path / "data" / "1.tar", {f"k{n}": f"it is {n}" for n in range(15, 30)})
    code, out, _ = command(*arguments(tmp_path, *more, answers=answers))
    assert code == 0
    assert "0 good + 30 duplicate-answer" in out
    assert rewrites(first)["k0"]["verdicts"] == ["duplicate-answer"]


def many_shards(folder):
    for number in range(3):
        captions = {f"{number}{i}": f"caption {i} of {number + 2} dogs" for i in range(4)}
        shard(folder / f"{number}.tar", captions)
    return {f"{number}{i}": f"{number + 2} dogs, {i}" for number in range(3) for i in range(4)}


def test_parts_workers_and_executors_leave_the_same_bytes(command, tmp_path):
    answers = many_shards(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "blank")
    command(*arguments(tmp_path, answers=answers))
    expected = files(tmp_path / "data")
    assert "annotations/rewrites/2.parquet" in expected
    assert not any(name.endswith(".jsonl") for name in expected)
    for runs in ((("--workers", 2),), (("--part", "1/2"), ("--part", "2/2"))):
        shutil.rmtree(tmp_path / "data")
        shutil.copytree(tmp_path / "blank", tmp_path / "data")
        printed = [command(*arguments(tmp_path, *more, answers=answers)) for more in runs]
        assert [code for code, _, _ in printed] == [0] * len(runs)
        assert files(tmp_path / "data") == expected
    assert "1 of 3 shards have no answers yet (other parts)" in printed[0][1]
    assert "12 answers" in printed[1][1]


def test_answers_by_prompt(command, tmp_path, tar):
    prompt = PRESETS["rephrase"].prompt({"caption": CAPTIONS["e"]}, 0)
    file = tmp_path / "by-prompt.jsonl"
    row = {"prompt": prompt_sha256(prompt), "answer": "a grandfather with a book"}
    file.write_text(json.dumps(row) + "\n")
    fixed = ("--backend", "replay", "--answers", file, "--preset", "rephrase", "--workers", 1)
    _, out, _ = command("rewrite", tar, *fixed)
    assert "1 good + 4 failed" in out
    assert rewrites(tar)["e"]["texts"] == ["a grandfather with a book"]


def test_captions_are_fused_with_another_sidecar(command, tmp_path, tar):
    command(*arguments(tmp_path, "--name", "rewrites-seen", preset="caption-short"))
    more = ("--fuse-with", "rewrites-seen", "--name", "rewrites-fused")
    fused = {"a": "Two dogs in deep snow", "c": "The Eiffel tower, of iron, in Paris"}
    _, out, _ = command(*arguments(tmp_path, *more, preset="fuse", answers=fused))
    # the picture's captions of b and e are a refusal and missing
    assert "2 good + 1 failed + 2 nothing-to-fuse" in out
    assert rewrites(tar, "rewrites-fused")["b"]["verdicts"] == ["nothing-to-fuse"]


def ordered(folder):
    """Captions of two shards, and a line for each."""
    colours = [f"{one}{two}" for one in ("red", "blue", "grey") for two in ("ish", "-green", "")]
    things = ["dog", "cat", "boat", "house", "tree", "car"]
    pairs = [(colour, thing) for colour in colours for thing in things]
    for number in range(2):
        captions = {f"{i:03}": f"a {c} {t}" for i, (c, t) in enumerate(pairs) if i % 2 == number}
        shard(folder / f"{number}.tar", captions)
    return [f"one {c} {t} here" for number in range(2) for c, t in pairs[number::2]]


def test_lines_in_order_are_joined_to_keys(command, tmp_path):
    lines = ordered(tmp_path / "data")
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(lines) + "\n")
    more = ("--backend", "replay", "--answers", file, "--preset", "rephrase", "--workers", 1)
    code, out, _ = command("rewrite", tmp_path / "data", *more)
    assert code == 0
    assert "54 good" in out
    assert rewrites(tmp_path / "data" / "1.tar")["003"]["texts"] == [lines[28]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "53 lines for 54 samples"),
        (lambda lines: lines[1:] + lines[:1], "with those 1 after"),
        (lambda lines: [*lines[:20], "a stray line", *lines[20:-1]], "with those 1 before"),
        (lambda lines: ["nothing of it"] * len(lines), "share 0% of their words"),
    ],
)
def test_lines_that_slipped_are_refused(command, tmp_path, change, message):
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(change(ordered(tmp_path / "data"))) + "\n")
    more = ("--backend", "replay", "--answers", file, "--preset", "rephrase", "--workers", 1)
    code, _, err = command("rewrite", tmp_path / "data", *more)
    assert code == 2
    assert message in err
    assert not file.with_suffix(".jsonl").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--preset", "rephrases"), "choices are examples-fluent"),
        (("--template", "x.txt"), "give --preset NAME or --template FILE"),
        (("--name", "captions"), "--name captions: expected rewrites or rewrites-SUFFIX"),
        (("--variants", 0), "--variants 0: expected 1 or more"),
        (("--fuse-with", "rewrites-x"), "rephrase has none"),
        (("--preset", "fuse"), "--fuse-with SIDECAR and a template with {other} belong together"),
        (("--preset", "fuse", "--fuse-with", "rewrites-x"), "is missing"),
        (("--preset", "caption-short", "--captions", "all"), "does not use captions"),
        (("--allow", "lost-names"), "--allow lost-names: choices are unfinished"),
        (("--min-words", 9, "--max-words", 8), "no more than the longest"),
        (("--max-same", -1), "--max-same -1"),
        (("--backend", "http", "--answers", "x"), "belong together"),
        (("--temperature", 0.5), "--temperature: --backend replay does not use it"),
        (("--batch", 0), "--batch 0: expected 1 or more"),
        (("--top-p", 0), "--top-p 0"),
        (("--temperature", -1), "--temperature -1"),
    ],
)
def test_what_does_not_fit_together_is_refused(command, tmp_path, tar, more, message):
    code, _, err = command(*arguments(tmp_path, *more))
    assert code == 2
    assert message in err
    assert not sidecar_path(tar, "rewrites").exists()


@pytest.mark.parametrize(
    "line",
    ["no json", "[1]", '{"key": "a"}', '{"key": "a", "answers": []}', '{"key": 1, "answer": "x"}',
     '{"key": "a", "answer": "x"}\n{"key": "a", "answer": "y"}'],
)  # fmt: skip
def test_a_file_of_answers_that_is_none_is_refused_with_its_line(command, tmp_path, tar, line):
    file = tmp_path / "answers.jsonl"
    file.write_text(line + "\n")
    fixed = ("--backend", "replay", "--answers", file, "--preset", "rephrase", "--workers", 1)
    code, _, err = command("rewrite", tar, *fixed)
    assert code == 2
    assert f"{file}:{line.count(chr(10)) + 1}: " in err


def test_a_sidecar_of_something_else_is_not_replaced(command, tmp_path, tar):
    path = sidecar_path(tar, "rewrites")
    path.parent.mkdir(parents=True)
    pq.write_table(pq.read_table(sidecar_path(tar, "index"), columns=["key"]), path)
    there = path.read_bytes()
    code, _, err = command(*arguments(tmp_path))
    assert code == 2
    assert "no mark of this tool" in err or "was made otherwise" in err
    assert Path(path).read_bytes() == there
