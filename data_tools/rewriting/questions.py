"""First pass over a shard: what is asked about its samples, and the answers as they came."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data_tools.annotate import HEAD, Made, read_sidecar
from data_tools.rewriting.answer_log import AnswerLog
from data_tools.rewriting.asking import ask_all
from data_tools.rewriting.backends import (
    Answer,
    BackendOptions,
    Prompt,
    make_backend,
    prompt_key,
)
from data_tools.rewriting.facts import words
from data_tools.rewriting.failures import count_failures
from data_tools.rewriting.quality import UNASKED, clean
from data_tools.rewriting.templates import Template
from data_tools.samples import TEXTS, read_samples, source_sha256
from vlp.data.index import IMAGE_EXTENSIONS, sidecar_path
from vlp.data.source import RawSample, UnusableSampleError
from vlp.errors import InputError

SCHEMA = pa.schema(
    [
        *HEAD,
        ("captions", pa.list_(pa.int32())),  # which of the sample's own captions was asked about
        ("variants", pa.list_(pa.int32())),
        ("answers", pa.list_(pa.string())),  # as the model gave them
        ("finished", pa.list_(pa.bool_())),
        ("errors", pa.list_(pa.string())),  # "" where there is an answer
        ("prompts", pa.list_(pa.string())),  # what the answers were saved by
        ("answer_ids", pa.list_(pa.int64())),  # hashes of the answers' words; 0 without any
        ("source_ids", pa.list_(pa.int64())),  # hashes of what was asked about
    ]
)


@dataclass(frozen=True)
class Asking:
    """What is asked of which model."""

    name: str  # of the sidecar
    backend: BackendOptions
    identity: dict[str, Any]  # of the backend
    template: Template
    variants: int
    captions: Literal["first", "all"]
    fuse_with: str
    seed: int
    cache: Path | None

    def settings(self) -> dict[str, Any]:
        """All that decides the answers, for the recipe."""
        return {
            **self.identity,
            **self.template.identity(),
            "variants": self.variants,
            "captions": self.captions,
            "fuse_with": self.fuse_with,
            "seed": self.seed,
        }

    def log(self, shard: Path) -> AnswerLog:
        """Where the answers of a shard are saved until it is finished, or for good."""
        if self.cache is not None:
            return AnswerLog(self.cache / f"{shard.stem}-{source_sha256(shard)[:12]}.jsonl")
        return AnswerLog(sidecar_path(shard, answers_of(self.name)).with_suffix(".jsonl"))


@dataclass(frozen=True)
class Question:
    """One answer to be had about a sample."""

    caption: int  # the number of the sample's own caption that it is about
    variant: int
    texts: dict[str, str]  # by placeholder of the template
    reason: str = ""  # why it cannot be asked


def answers_of(name: str) -> str:
    """The sidecar that holds the answers to a rewrites sidecar as they came."""
    return f"{name}/.answers"


def questions_of(sample: RawSample, asking: Asking, others: dict[Any, list[str]]) -> list[Question]:
    """The questions about a sample; none if it has no caption and the template wants one.

    Args:
        others: texts by (key, src_sha256) to fuse captions with.
    """
    template = asking.template
    captions = [""]
    if template.uses("caption"):
        try:
            captions = sample.captions()
        except UnusableSampleError:
            return []
    wanted = captions if asking.captions == "all" else captions[:1]
    other = others.get((sample.key, sample.src_sha256), [])
    found: list[Question] = []
    for number, caption in enumerate(wanted):
        for variant in range(asking.variants):
            texts = {"caption": caption} if template.uses("caption") else {}
            if template.uses("other"):
                texts["other"] = other[len(found) % len(other)] if other else ""
            is_askable = bool(other) or not template.uses("other")
            found.append(Question(number, variant, texts, "" if is_askable else UNASKED))
    return found


def read_others(shard: Path, asking: Asking) -> dict[Any, list[str]]:
    """The texts of the sidecar to fuse with, by (key, src_sha256); none if nothing is fused.

    Raises:
        InputError: there is no such sidecar, or it holds no texts.
    """
    if not asking.fuse_with:
        return {}
    table = read_sidecar(shard, asking.fuse_with)
    if "texts" not in table.column_names:
        raise InputError(f"--fuse-with {asking.fuse_with}: the sidecar of {shard} has no `texts`")
    columns = (table[name].to_pylist() for name in ("key", "src_sha256", "texts"))
    return {(key, source): texts for key, source, texts in zip(*columns, strict=True) if texts}


class ShardPrompts:
    """Walks through a shard: makes the prompts, and notes where their answers belong."""

    def __init__(self, shard: Path, asking: Asking) -> None:
        self._shard = shard
        self._asking = asking
        self._others = read_others(shard, asking)
        self._is_by_sample = make_backend(
            asking.backend, asking.template.uses("image")
        ).is_by_sample
        self.samples: list[tuple[RawSample, list[tuple[Question, str]]]] = []  # with prompts' keys

    def __iter__(self) -> Iterator[Prompt]:
        has_image = self._asking.template.uses("image")
        members = (*TEXTS, *IMAGE_EXTENSIONS) if has_image else TEXTS
        for sample in read_samples(self._shard, members):
            noted: list[tuple[Question, str]] = []
            for question in questions_of(sample, self._asking, self._others):
                question, prompt = self._prompt(sample, question, len(noted), has_image)
                noted.append((question, "" if prompt is None else prompt.key))
                if prompt is not None:
                    yield prompt
            self.samples.append((replace(sample, members={}), noted))

    def _prompt(
        self, sample: RawSample, question: Question, place: int, has_image: bool
    ) -> tuple[Question, Prompt | None]:
        if question.reason:
            return question, None
        try:
            image = sample.image if has_image else None
        except UnusableSampleError as error:
            return replace(question, reason=str(error)), None
        asking = self._asking
        names = [question.texts.get("caption", sample.key), str(question.variant)]
        prompt = asking.template.prompt(question.texts, asking.seed, *names)
        prompt = replace(prompt, image=image, sample=sample.key, place=place)
        own = [sample.key, str(place)] if self._is_by_sample else []
        names = [str(asking.seed), str(question.variant), *own]
        return question, replace(prompt, key=prompt_key(asking.identity, prompt, *names))


def make_answers(shard: Path, asking: Asking) -> Made:
    """The answers to all questions about a shard."""
    prompts = ShardPrompts(shard, asking)
    backend = make_backend(asking.backend, asking.template.uses("image"))
    answers = ask_all(prompts, backend, asking.log(shard))
    counts: Counter[str] = Counter()
    rows = []
    for sample, noted in prompts.samples:
        given = [_storable(answers[key]) if key else Answer(error=q.reason) for q, key in noted]
        rows.append(
            {
                "key": sample.key,
                "src_sha256": sample.src_sha256,
                "captions": [question.caption for question, _ in noted],
                "variants": [question.variant for question, _ in noted],
                "answers": [answer.text for answer in given],
                "finished": [answer.is_finished for answer in given],
                "errors": [answer.error for answer in given],
                "prompts": [key for _, key in noted],
                "answer_ids": [_text_id(" ".join(words(clean(answer.text)))) for answer in given],
                "source_ids": [_text_id(q.texts.get("caption", sample.key)) for q, _ in noted],
            }
        )
        counts["samples"] += 1
        counts["without caption"] += not noted
        counts["captions"] += len({question.caption for question, _ in noted})
        counts["answers"] += len(noted)
        counts += count_failures(answer for answer in given if answer.error != UNASKED)
    return Made(pa.Table.from_pylist(rows, SCHEMA), counts)


def _storable(answer: Answer) -> Answer:
    """Half a surrogate pair, which JSON can say and UTF-8 cannot, becomes the sign for no text."""
    return replace(answer, text=re.sub("[\ud800-\udfff]", "\ufffd", answer.text))


def _text_id(text: str) -> int:
    if not text:
        return 0
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)
