"""Near misses by a language model that is asked for a false caption with few words changed."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from data_tools.eval_captions import normalised
from data_tools.lots import rng
from data_tools.near_misses.captions import Caption
from data_tools.near_misses.grammar import DENIALS
from data_tools.near_misses.lexicon import Option, lexicon
from data_tools.near_misses.making import QUESTIONS, Making
from data_tools.near_misses.parsing import Parsed
from data_tools.near_misses.rules import NearMiss
from data_tools.near_misses.sidecar import Found
from data_tools.near_misses.tokens import Edit, Words
from data_tools.rewriting.answer_log import AnswerLog
from data_tools.rewriting.asking import ask_all
from data_tools.rewriting.backends import Answer, Backend, Prompt, make_backend, prompt_key
from data_tools.rewriting.failures import count_failures
from data_tools.rewriting.quality import GOOD, Asked, Limits, clean, judge
from vlp.data.index import sidecar_path

_MOST_CHANGED = 0.5  # of the words
_LONGER = 5  # words that an answer may have more than its caption
_CHANGE = {
    "llm-noun": "one thing, animal or person",
    "llm-attribute": "one colour, size, material or number",
    "llm-action": "what somebody does",
    "llm-relation": "where one thing is in relation to another",
    "llm-negation": "one statement into its denial, with a word such as not or without",
}
_TASK = (
    "Here is a true caption of a photo. Change {change}, so that the caption is clearly wrong for "
    "this photo but could be right for another one. Leave every other word as it is, write fluent "
    "English, and answer with the changed caption alone."
)
_EXAMPLES = {
    "llm-noun": (("Two kids feed a goat behind the barn.", "Two kids feed a pony behind the barn."),
                 ("a jar of honey beside sliced bread", "a jar of honey beside sliced lemons")),
    "llm-attribute": (("Two kids feed a brown goat.", "Two kids feed a white goat."),
                      ("a small glass jar beside bread", "a small clay jar beside bread")),
    "llm-action": (("Two kids feed a goat behind the barn.", "Two kids chase a goat behind the "
                    "barn."),
                   ("an old man reading on a bench", "an old man sleeping on a bench")),
    "llm-relation": (("Two kids feed a goat behind the barn.", "Two kids feed a goat inside the "
                      "barn."),
                     ("a lamp above the sofa", "a lamp next to the sofa")),
    "llm-negation": (("Two kids feed a goat behind the barn.", "Two kids do not feed the goat "
                      "behind the barn."),
                     ("a boy with a hat", "a boy without a hat")),
}  # fmt: skip


def ask(
    shard: Path, captions: Sequence[Caption], making: Making
) -> tuple[list[Found], Counter[str]]:
    """Near misses of the captions of one shard, and how many questions were asked and failed.

    Answers are saved as they come. The log stays where some have failed, so that --retry-failed
    asks for those alone.
    """
    assert making.model is not None
    backend = make_backend(making.model)
    prompts = _prompts(captions, making, backend)
    log = AnswerLog(sidecar_path(shard, f"{making.name}/.answers").with_suffix(".jsonl"))
    asked = [prompt for own in prompts for _, prompt in own]
    answers = ask_all(asked, backend, log)
    found = [
        _read(caption, own, answers, making) for caption, own in zip(captions, prompts, strict=True)
    ]
    failures = count_failures(answers[prompt.key] for prompt in asked)
    if not failures:
        log.remove()
    return found, failures + Counter({QUESTIONS: len(asked)})


def _prompts(
    captions: Sequence[Caption], making: Making, backend: Backend
) -> list[list[tuple[str, Prompt]]]:
    """(kind, prompt) of each near miss that is wanted of each caption."""
    identity, found = backend.identity(), []
    before: dict[str, int] = {}  # prompts of the same sample
    for caption in captions:
        order = list(making.kinds)
        rng(making.seed, "kinds", caption.key, caption.text).shuffle(order)
        own = []
        for number in range(making.per_caption):
            kind = order[number % len(order)]
            place = before.get(caption.key, 0)
            before[caption.key] = place + 1
            prompt = replace(_prompt(kind, caption.text), sample=caption.key, place=place)
            names = [
                str(making.seed),
                str(number),
                *([caption.key] if backend.is_by_sample else []),
            ]
            own.append((kind, replace(prompt, key=prompt_key(identity, prompt, *names))))
        found.append(own)
    return found


def _prompt(kind: str, caption: str) -> Prompt:
    task = _TASK.format(change=_CHANGE[kind])
    messages: list[tuple[str, str]] = []
    for true, false in _EXAMPLES[kind]:
        messages += [("user", true), ("assistant", false)]
    messages[0] = ("user", f"{task}\n\n{messages[0][1]}")
    shown = "\n\n".join(f"True: {true}\nFalse: {false}" for true, false in _EXAMPLES[kind])
    line = " ".join(caption.split())
    completion = f"{task}\n\n{shown}\n\nTrue: {line}\nFalse:"
    return Prompt((*messages, ("user", line)), completion, "")


def _read(
    caption: Caption,
    prompts: Sequence[tuple[str, Prompt]],
    answers: Mapping[str, Answer],
    making: Making,
) -> Found:
    found: dict[str, NearMiss] = {}
    reasons = []
    for kind, prompt in prompts:
        text = clean(answers[prompt.key].text)
        reason = verdict(caption, kind, answers[prompt.key])
        told = normalised(text)
        if not reason and told in making.excluded():
            reason = "an answer of --exclude-captions"
        if reason or told in found:
            reasons.append(reason or "the same answer twice")
        else:
            found[told] = NearMiss(kind, text, edits_between(caption.text, text))
    return list(found.values()), "" if found else f"answers: {reasons[0]}"


def verdict(caption: Caption, kind: str, answer: Answer) -> str:
    """Why an answer is no near miss; "" if it is one."""
    text, source = clean(answer.text), caption.text
    examples = frozenset(false.lower() for pair in _EXAMPLES.values() for _, false in pair)
    limits = Limits(1, len(source.split()) + _LONGER, frozenset({"lost-number", "new-number"}))
    found = judge(answer, Asked(source, source, is_faithful=False), limits)
    if found.rule != GOOD:
        return found.rule
    if text.lower() in examples and text.lower() != source.lower():
        return "leak"
    if normalised(text) in caption.picture.texts:
        return "true by another caption"
    old, new = Words.of(source).lower, Words.of(text).lower
    if _distance(old, new) > _MOST_CHANGED * len(old):
        return "too many words changed"
    if kind != "llm-negation" and not DENIALS.isdisjoint(set(new) - set(old)):
        return "a negation"
    return "true by another caption" if _may_be_true(caption, old, new) else ""


def _distance(old: Sequence[str], new: Sequence[str]) -> int:
    """Words that are put in, left out or replaced (Levenshtein 1966)."""
    row = list(range(len(new) + 1))
    for i, one in enumerate(old, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(new, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (one != other))
    return row[-1]


def _may_be_true(caption: Caption, old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether one word was put in for one other, and the lists or a caption say that it fits."""
    out, put = [w for w in old if w not in new], [w for w in new if w not in old]
    if len(out) != 1 or len(put) != 1:
        return False
    olds, news = (Parsed.of(word).mentions for word in (out[0], put[0]))
    known = lexicon()
    return any(
        known.are_related(one, other)
        or not caption.picture.denies(one, Option(put[0], other, frozenset({other})))
        for one in olds
        for other in news
        if one.split()[0] == other.split()[0]
    )


def edits_between(old: str, new: str) -> list[Edit]:
    """Edits of whole words that make one text of another; the text between words counts too."""
    one, other = _pieces(old), _pieces(new)
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    places = [0]
    for piece in one:
        places.append(places[-1] + len(piece))
    return [
        Edit(places[i], places[j], "".join(other[k:m]))
        for kind, i, j, k, m in matcher.get_opcodes()
        if kind != "equal"
    ]


def _pieces(text: str) -> list[str]:
    """The words of a text and what lies between them."""
    words, found, place = Words.of(text), list[str](), 0
    for start, end in zip(words.starts, words.ends, strict=True):
        found += [text[place:start], text[start:end]]
        place = end
    return [piece for piece in (*found, text[place:]) if piece]
