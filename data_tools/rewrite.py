"""`rewrite`: other wordings of captions, or captions of pictures, by a language model."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from data_tools.annotate import Annotated, Recipe, SidecarOptions, annotate, conserved, unfinished
from data_tools.engine import own_part
from data_tools.rewriting import judging, questions
from data_tools.rewriting.backends import BackendOptions, backend_options, make_backend, workers_of
from data_tools.rewriting.failures import tell_failures
from data_tools.rewriting.judging import Judging, make_texts
from data_tools.rewriting.line_order import joined_by_order
from data_tools.rewriting.quality import ALLOWABLE, UNASKED, VERDICTS, Limits, clean
from data_tools.rewriting.questions import Asking, answers_of, make_answers
from data_tools.rewriting.repeated import example, most_allowed, repeated_answers
from data_tools.rewriting.resuming import forget_failures, mixes_only_repeats
from data_tools.rewriting.templates import find_template
from data_tools.rewriting.watching import Watch
from data_tools.samples import find_shards
from vlp.data.index import shard_length
from vlp.data.sidecars import REWRITES
from vlp.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Rewrite(SidecarOptions, BackendOptions):
    """Write a `rewrites` sidecar: captions in other words, or captions of the pictures.

    Args:
        preset: what is asked: examples-fluent, examples-vivid, examples-two-views, examples-plain
            (three examples, then the caption; these also suit models without chat), rephrase,
            concise, clean, fuse (text); caption-short, caption-detailed, caption-realigned
            (picture).
        template: a file that asks something else, a text with {caption}, {other} or {image}, or
            .json with `instruction` (for chats) and `completion`.
        variants: answers for each caption.
        captions: first asks about the caption that counts as the original; all asks about all
            of a sample.
        fuse_with: another rewrites sidecar, whose texts stand for {other}.
        name: of the sidecar, rewrites or rewrites-SUFFIX.
        cache: a folder to keep answers in, for later runs that ask the same of the same model;
            without it answers are saved beside the sidecar, until a shard is finished.
        retry_failed: ask again what failed in an earlier run.
        min_words: shortest good text.
        max_words: longest good text.
        max_same: how many different captions may get one answer; 0 is the larger of 20 and 0.1 %.
        allow: verdicts that are not to reject, with commas: lost-name,lost-number.
    """

    preset: str = ""
    template: Path | None = None
    variants: int = 1
    captions: Literal["first", "all"] = "first"
    fuse_with: str = ""
    name: str = REWRITES
    cache: Path | None = None
    retry_failed: bool = False
    min_words: int = 2
    max_words: int = 120
    max_same: int = 0
    allow: str = ""


def rewrite(options: Rewrite) -> None:
    """Run the command: ask, find answers that came too often, judge, and print the balance.

    Raises:
        InputError: options that do not fit together, or sidecars of other settings.
        RunError: shards that failed, or no question at all got an answer.
    """
    limits = _limits(options)
    shards = find_shards(options.shards)
    asking = _asking(_with_keys(options, shards))
    asked = _ask(shards, asking, options)
    asked.finish()
    recipe = _answers_recipe(asking)
    left = unfinished(shards, recipe, options.restart)
    if left:
        print(
            f"{len(left):,} of {len(shards):,} shards have no answers yet (other parts); the run "
            "that finds them all judges them"
        )
        return
    whole = annotate(make_answers, shards, recipe, asking, replace(options, part="1/1")).counts
    _judge(shards, asking, limits, whole, options)


def _limits(options: Rewrite) -> Limits:
    allowed = frozenset(filter(None, (rule.strip() for rule in options.allow.split(","))))
    unknown = sorted(allowed - set(ALLOWABLE))
    if unknown:
        raise InputError(f"--allow {unknown[0]}: choices are {', '.join(ALLOWABLE)}")
    if not 1 <= options.min_words <= options.max_words:
        raise InputError(
            f"--min-words {options.min_words} --max-words {options.max_words}: expected 1 or more, "
            "and no more than the longest"
        )
    if options.max_same < 0:
        raise InputError(f"--max-same {options.max_same}: expected 0 or more")
    return Limits(options.min_words, options.max_words, allowed)


def _with_keys(options: Rewrite, shards: Sequence[Path]) -> Rewrite:
    """With answers by key, where a .txt has one a line."""
    if options.answers is None or options.answers.suffix != ".txt":
        return options
    if options.variants > 1 or options.captions == "all":
        raise InputError(f"--answers {options.answers}: a .txt has one answer for each sample")
    return replace(options, answers=joined_by_order(options.answers, shards))


def _asking(options: Rewrite) -> Asking:
    template = find_template(options.preset, options.template)
    if options.name != REWRITES and not options.name.startswith(f"{REWRITES}-"):
        raise InputError(f"--name {options.name}: expected {REWRITES} or {REWRITES}-SUFFIX")
    if options.variants < 1:
        raise InputError(f"--variants {options.variants}: expected 1 or more")
    if template.uses("other") != bool(options.fuse_with):
        raise InputError(
            f"--fuse-with SIDECAR and a template with {{other}} belong together; {template.name} "
            f"has {'one' if template.uses('other') else 'none'}"
        )
    if options.captions == "all" and not template.uses("caption"):
        raise InputError(f"--captions all: {template.name} does not use captions")
    is_same = options.temperature == 0 and not template.examples and options.backend != "replay"
    if options.variants > 1 and is_same and not options.fuse_with:
        raise InputError(
            f"--variants {options.variants} --temperature 0: every variant would be the same"
        )
    backend = backend_options(options)
    identity = make_backend(backend, template.uses("image")).identity()
    return Asking(
        name=options.name,
        backend=backend,
        identity=identity,
        template=template,
        variants=options.variants,
        captions=options.captions,
        fuse_with=options.fuse_with,
        seed=options.seed,
        cache=options.cache,
    )


def _answers_recipe(asking: Asking) -> Recipe:
    return Recipe(
        name=answers_of(asking.name),
        schema=questions.SCHEMA,
        settings=asking.settings(),
        inputs=(asking.fuse_with,) if asking.fuse_with else (),
        what="answering",
    )


def _ask(shards: Sequence[Path], asking: Asking, options: Rewrite) -> Annotated:
    """The first pass, over this run's part."""
    own = own_part(shards, options)
    recipe = _answers_recipe(asking)
    if options.retry_failed:
        forget_failures(own, recipe.name, asking)
    logs = {shard: asking.log(shard) for shard in unfinished(own, recipe, options.restart)}
    total = None
    if options.captions == "first":
        total = options.variants * sum(shard_length(str(shard)) for shard in logs)
    with Watch([log.path for log in logs.values()], total) as watch:
        asked = annotate(
            make_answers,
            shards,
            recipe,
            asking,
            replace(options, workers=workers_of(asking.backend, options.workers)),
        )
    if logs:
        print(watch.told())
    if options.cache is None:
        for shard in own:
            if str(shard) not in asked.run.failures:
                asking.log(shard).remove()
    return asked


def _judge(
    shards: Sequence[Path],
    asking: Asking,
    limits: Limits,
    asked: Counter[str],
    options: Rewrite,
) -> None:
    """The second pass, over all shards, and what is printed."""
    most = most_allowed(options.max_same, asked["captions"])
    repeated = repeated_answers(shards, asking.name, most)
    judged = Judging(asking, limits, options.max_same, repeated)
    ids = ",".join(map(str, sorted(repeated)))
    marks = {"most_same": most, "repeated": hashlib.sha256(ids.encode()).hexdigest()}
    recipe = Recipe(
        name=asking.name,
        schema=judging.SCHEMA,
        settings=judged.settings() | marks,
        inputs=(answers_of(asking.name), *filter(None, [asking.fuse_with])),
        what="judging",
    )
    restart = options.restart or mixes_only_repeats(shards, recipe, set(marks))
    whole = replace(options, part="1/1", restart=restart)
    made = annotate(make_texts, shards, recipe, judged, whole)
    made.finish()
    _print(asked, made.counts, asking)
    if repeated:
        answer = max(repeated, key=lambda found: (repeated[found], found))
        text = clean(example(shards, asking.name, answer))
        print(
            f"answers that more than {most:,} different captions got: {len(repeated):,}; "
            f"{repeated[answer]:,} got the commonest, {text!r:.120}"
        )
    tell_failures(asked, asked["answers"] - made.counts[UNASKED])


def _print(asked: Counter[str], judged: Counter[str], asking: Asking) -> None:
    parts = {verdict: judged[verdict] for verdict in VERDICTS}
    unit = f"answers ({asked['captions']:,} captions x {asking.variants:,})"
    print(conserved(asked["answers"], parts, unit))
    without = asked["without caption"]
    texts = judged["samples with texts"]
    rest = {"with texts": texts, "with none": asked["samples"] - texts - without}
    print(conserved(asked["samples"], rest | {"without a caption to ask about": without}))
