"""`negatives`: captions that are nearly right, for training and for tests of compositionality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from data_tools.annotate import Annotated, Recipe, SidecarOptions, annotate, conserved, unfinished
from data_tools.engine import own_part
from data_tools.near_misses import sidecar
from data_tools.near_misses.making import KINDS_OF, QUESTIONS, Making, make
from data_tools.near_misses.rules import NEGATION
from data_tools.rewriting.backends import BackendOptions, backend_options, make_backend, workers_of
from data_tools.rewriting.failures import forget_failed_shards, tell_failures
from data_tools.samples import find_shards
from vlp.data.sidecars import NEGATIVES
from vlp.errors import InputError

if TYPE_CHECKING:
    from data_tools.near_misses.judging import Judge

_NGRAM = "ngram"
_UNREFINED = ".all"  # beneath the sidecar's name: near misses before some are left out
_OF_LOCAL_MODELS = ("model", "batch", "device", "dtype")


@dataclass(frozen=True, kw_only=True)
class Negatives(SidecarOptions, BackendOptions):
    """Write a `negatives` sidecar: captions made false by few words.

    Args:
        mode: rules (word lists of this package), fill-mask (a masked language model puts in
            another word), llm (a language model is asked).
        kinds: of near misses, with commas; all of the mode without it, save negations. For rules
            colour, material, size, age, state, action, relation, number, noun, swap-nouns,
            swap-attributes, order, negation; for fill-mask fill-noun, fill-adjective, fill-verb,
            fill-preposition; for llm llm-noun, llm-attribute, llm-action, llm-relation,
            llm-negation.
        per_caption: near misses of a caption, at most.
        captions: first makes near misses of the caption that counts as the original; all of every
            caption of a sample.
        name: of the sidecar, negatives or negatives-SUFFIX.
        guard_sidecars: sidecars that are true of the pictures, with commas: rewrites by their
            texts, boxes by their labels. What they say is not put in.
        exclude_captions: captions of evaluation sets (.txt, .json, tables, tars, folders of these);
            none of them is used or made.
        top_k: likeliest tokens that fill-mask draws from.
        blind_test: report how far text alone gives near misses away, to a causal language model in
            this folder, or to trigrams of the captions (ngram).
        refine: leave near misses out until text alone does not give the others away to this model
            (a folder, or ngram).
        retry_failed: ask again what failed in an earlier run of llm.
        backend: of llm, where it must be given.
    """

    mode: Literal["rules", "fill-mask", "llm"] = "rules"
    kinds: str = ""
    per_caption: int = 4
    captions: Literal["first", "all"] = "first"
    name: str = NEGATIVES
    guard_sidecars: str = ""
    exclude_captions: tuple[str, ...] = ()
    top_k: int = 10
    blind_test: str = ""
    refine: str = ""
    retry_failed: bool = False
    backend: Literal["", "transformers", "http", "replay"] = ""  # type: ignore[assignment]


def negatives(options: Negatives) -> None:
    """Run the command: make near misses, test what gives them away, and print the balance.

    Raises:
        InputError: options that do not fit together, or sidecars of other settings.
        RunError: shards that failed, or no question at all got an answer.
    """
    making = _making(options)
    shards = find_shards(options.shards)
    own = making.name
    recipe = Recipe(
        name=own,
        schema=sidecar.SCHEMA,
        settings=making.settings(),
        inputs=making.guards,
        what="near misses",
    )
    if options.retry_failed:
        forget_failed_shards(own_part(shards, options), own)
    run = annotate(make, shards, recipe, making, _with_workers(options, making.model))
    _print(run)
    run.finish()
    tell_failures(run.counts, run.counts[QUESTIONS])
    if not (options.refine or options.blind_test):
        return
    judges = _judges(own, options)
    for judge in judges.values():
        judge.prepare(shards, _with_workers(options, judge.model))
    left = {*unfinished(shards, recipe)}.union(*(j.unfinished(shards) for j in judges.values()))
    if left:
        print(
            f"{len(left):,} of {len(shards):,} shards are not finished yet (other parts); the run "
            "that finds them all tests them"
        )
        return
    _test(judges, shards, recipe, options)


def _test(
    judges: "Mapping[str, Judge]", shards: Sequence[Path], recipe: Recipe, options: Negatives
) -> None:
    """Judge all near misses, leave some out if that is asked for, and judge what is left."""
    from data_tools.near_misses.blind_test import table
    from data_tools.near_misses.refine import keep, symmetric

    found = {spec: judge.judged(shards, options.seed) for spec, judge in judges.items()}
    for spec, judged in found.items():
        print(f"blind test by {judges[spec].told} (0.5: the text gives nothing away):")
        print("\n".join(table(judged)))
    if not options.refine:
        return
    kept = symmetric(found[options.refine], options.seed)
    settings = {**recipe.settings, "refine": judges[options.refine].settings()}
    refined = replace(recipe, name=options.name, settings=settings, inputs=(recipe.name,))
    unfinished(shards, refined, options.restart)  # raises for another's sidecar
    counts = keep(shards, recipe.name, refined, kept)
    dropped = {"kept": int(kept.sum()), "left out (the text gave them away)": int((~kept).sum())}
    print(conserved(len(kept), dropped, "near misses"))
    print(conserved(*_balance(counts), unit="captions"))
    for spec, judged in found.items():
        print(f"blind test by {judges[spec].told}, of what is left:")
        print("\n".join(table(judged, kept)))


def _judges(name: str, options: Negatives) -> "dict[str, Judge]":
    from data_tools.near_misses.judging import judge

    specs = dict.fromkeys(filter(None, (options.refine, options.blind_test)))
    plain = _backend(options)
    return {spec: judge(name, spec, plain) for spec in specs}


def _making(options: Negatives) -> Making:
    """Raises InputError for options that do not fit together."""
    if options.name != NEGATIVES and not options.name.startswith(f"{NEGATIVES}-"):
        raise InputError(f"--name {options.name}: expected {NEGATIVES} or {NEGATIVES}-SUFFIX")
    for name in ("per_caption", "top_k", "batch"):
        if getattr(options, name) < 1:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} {getattr(options, name)}: expected 1 or more")
    _check_model(options)
    model = None if options.mode == "rules" else _asked_model(options)
    return Making(
        name=f"{options.name}/{_UNREFINED}" if options.refine else options.name,
        mode=options.mode,
        kinds=_kinds(options),
        per_caption=options.per_caption,
        first=options.captions == "first",
        guards=_listed(options.guard_sidecars),
        exclude=tuple(options.exclude_captions),
        seed=options.seed,
        model=model,
        top_k=options.top_k if options.mode == "fill-mask" else 0,
        identity=_identity(options, model),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def _kinds(options: Negatives) -> tuple[str, ...]:
    choices = KINDS_OF[options.mode]
    wanted = _listed(options.kinds)
    unknown = [kind for kind in wanted if kind not in choices]
    if unknown:
        raise InputError(
            f"--kinds {unknown[0]}: choices with --mode {options.mode} are {', '.join(choices)}"
        )
    return wanted or tuple(kind for kind in choices if not kind.endswith(NEGATION))


def _check_model(options: Negatives) -> None:
    """No option may be given that nothing reads."""
    defaults = {item.name: item.default for item in fields(Negatives)}
    names = [item.name for item in fields(BackendOptions)] + ["top_k"]
    read: set[str] = set()
    if options.mode == "llm":
        read = set(names) - {"top_k"}
    elif options.mode == "fill-mask":
        read = {*_OF_LOCAL_MODELS, "top_k"}
    if _has_local_judge(options):
        read |= {*_OF_LOCAL_MODELS} - {"model"}
    for name in names:
        if name not in read and getattr(options, name) != defaults[name]:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag}: --mode {options.mode} does not use it")
    if options.mode == "fill-mask" and not options.model:
        raise InputError("--mode fill-mask needs --model, the folder of a masked language model")
    if options.retry_failed and options.mode != "llm":
        raise InputError(f"--retry-failed: --mode {options.mode} does not use it")
    if options.mode == "llm" and not options.backend:
        raise InputError("--mode llm needs --backend: transformers, http or replay")


def _backend(options: Negatives) -> BackendOptions:
    """The options of models in this process; llm's own is what the user gives."""
    return backend_options(replace(options, backend=options.backend or "transformers"))


def _asked_model(options: Negatives) -> BackendOptions:
    """Without the options of a judge in this process, where the model that is asked is not."""
    model = _backend(options)
    if model.backend == "transformers" or not _has_local_judge(options):
        return model
    plain = BackendOptions(backend=model.backend)
    return replace(model, batch=plain.batch, device=plain.device, dtype=plain.dtype)


def _has_local_judge(options: Negatives) -> bool:
    return bool({options.refine, options.blind_test} - {"", _NGRAM})


def _identity(options: Negatives, model: BackendOptions | None) -> tuple[tuple[str, object], ...]:
    if model is None:
        return ()
    if options.mode == "llm":
        return tuple(sorted(make_backend(model).identity().items()))
    from data_tools.rewriting.generation import dtype_of, fingerprint, model_folder

    dtype = str(dtype_of(model)).removeprefix("torch.")
    return (
        ("batch", model.batch), ("dtype", dtype), ("files", fingerprint(model_folder(model.model)))
    )  # fmt: skip


def _with_workers(options: Negatives, model: BackendOptions | None) -> Negatives:
    return replace(options, workers=workers_of(model, options.workers))


def _print(run: Annotated) -> None:
    counts = run.counts
    print(conserved(*_balance(counts), unit="captions"))
    if counts[sidecar.UNREADABLE]:
        print(f"besides, {counts[sidecar.UNREADABLE]:,} {sidecar.UNREADABLE}")
    kinds = {name.removeprefix(sidecar.KIND): n for name, n in counts.items()
             if name.startswith(sidecar.KIND)}  # fmt: skip
    shown = ", ".join(
        f"{n:,} {kind}" for kind, n in sorted(kinds.items(), key=lambda k: (-k[1], k))
    )
    print(f"{sum(kinds.values()):,} near misses: {shown or 'none'}")


def _balance(counts: Mapping[str, int]) -> tuple[int, dict[str, int]]:
    """Captions, and what became of them."""
    reasons = {
        f"without ({name.removeprefix(sidecar.WITHOUT)})": number
        for name, number in sorted(counts.items())
        if name.startswith(sidecar.WITHOUT)
    }
    parts = {"with near misses": counts.get(sidecar.WITH, 0), **reasons}
    return counts.get(sidecar.CAPTIONS, 0), parts
