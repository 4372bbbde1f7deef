"""`counts`: captions that say how many there are, verified by a detector, as training data.

The procedure of Paiss et al. 2023 ("Teaching CLIP to Count to Ten", arXiv 2302.12066), section 3.1:
captions with a spelled number from two to ten, of which those are kept whose picture shows as many.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from data_tools.annotate import Recipe, SidecarOptions, annotate, conserved, unfinished
from data_tools.counting import mining
from data_tools.counting.detectors import LEAST_SCORE, Detector
from data_tools.counting.keeping import SCHEMA as KEPT
from data_tools.counting.keeping import Keeping, keep_shard, last_tickets
from data_tools.counting.report import caption_lines, number_table, write_ledger
from data_tools.counting.showing import Shown, from_detector, from_file, from_sidecar
from data_tools.counting.verify import Verifier
from data_tools.devices import device_of
from data_tools.eval_captions import evaluation_captions, fingerprint
from data_tools.samples import find_shards
from vlp.data.sidecars import COUNTS
from vlp.errors import InputError

BOXES = "boxes"


@dataclass(frozen=True, kw_only=True)
class Counts(SidecarOptions):
    """Find captions that count objects, verify them with boxes, and write the sidecar counts.

    Args:
        boxes: what the pictures show: a file (.jsonl or .parquet with `objects`, COCO's instances
            .json), or the name of a sidecar with labels, boxes and scores.
        detector: folder of a detector of transformers (DETR, RT-DETR, ...), which is run where a
            caption counts; its boxes are kept as a sidecar.
        open_vocabulary: the detector takes a text (Grounding DINO, OWLv2) and is asked for the noun
            of each caption.
        unverified: believe the captions; a model counts far worse after such data.
        name: of the sidecar, counts or counts-SUFFIX; its boxes are boxes or boxes-SUFFIX.
        threshold: two scores; the number has to be the same at both.
        unmapped: a noun that is no class of the detector is not verified (reject), or verified if
            the largest count of any class is the number (any-class, as published: many agree by
            chance).
        captions: first reads the original caption alone; all every one, of which the first that is
            verified counts.
        balance: keep at most this many samples of each number, drawn by lot; all without it.
        exclude_captions: captions of benchmarks (.txt, .json such as CountBench's, tables, tars,
            folders of these), which are left out with their samples.
        ledger: write every caption that was left out, with the reason, as a .jsonl.
        batch: pictures that the detector sees at a time.
        device: of the detector: auto, cpu, cuda or cuda:N.
    """

    boxes: str | None = None
    detector: Path | None = None
    open_vocabulary: bool = False
    unverified: bool = False
    name: str = COUNTS
    threshold: str = "0.3,0.5"
    unmapped: Literal["reject", "any-class"] = "reject"
    captions: Literal["first", "all"] = "first"
    balance: int | None = None
    exclude_captions: tuple[str, ...] = ()
    ledger: Path | None = None
    batch: int = 8
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        ways = (self.boxes is not None, self.detector is not None, self.unverified)
        if sum(ways) != 1:
            raise InputError(
                "expected one of --boxes, --detector and --unverified: numbers in captions are "
                "often wrong of the picture, and the check is most of the gain"
            )
        if self.name.partition("-")[0] != COUNTS:
            raise InputError(f"--name {self.name}: expected {COUNTS} or {COUNTS}-SUFFIX")
        if self.balance is not None and self.balance < 1:
            raise InputError(f"--balance {self.balance}: expected at least 1")
        if self.batch < 1:
            raise InputError(f"--batch {self.batch}: expected at least 1")
        self._check_used()
        self.thresholds()

    def thresholds(self) -> tuple[float, float]:
        """The lower and the higher score."""
        try:
            low, high = sorted(map(float, self.threshold.split(",")))
        except ValueError:
            low, high = 0.0, 0.0
        if not LEAST_SCORE <= low <= high <= 1:
            raise InputError(
                f"--threshold {self.threshold}: expected two scores from {LEAST_SCORE} "
                "to 1, such as 0.3,0.5"
            )
        return low, high

    def _check_used(self) -> None:
        """Refuse options that this way of verifying would ignore."""
        ignored: dict[str, str] = {}
        if self.detector is None:
            ignored |= dict.fromkeys(("open_vocabulary", "batch", "device"), "--detector")
        if self.unverified:
            ignored |= dict.fromkeys(("threshold", "unmapped"), "--boxes or --detector")
        for name, needed in ignored.items():
            if getattr(self, name) != getattr(Counts, name):
                raise InputError(f"--{name.replace('_', '-')}: only with {needed}")
        if self.open_vocabulary and self.unmapped != Counts.unmapped:
            raise InputError("--unmapped: not with --open-vocabulary, which knows every noun")


def counts(options: Counts) -> None:
    """Run the command.

    Raises:
        InputError: the options or a file cannot be used.
        RunError: shards failed, and are named.
    """
    shards = find_shards(options.shards)
    excluded = tuple(options.exclude_captions)
    known = evaluation_captions(excluded, "--exclude-captions")
    shown = _shown(shards, options)
    verifier = None
    if shown is not None:
        verifier = Verifier(options.thresholds(), shown.classes, options.unmapped)
    settings = {
        "captions": options.captions,
        "exclude_captions": fingerprint(known) if known else None,
        "boxes": shown and shown.sidecar,
        "verifier": verifier and asdict(verifier),
        "seed": options.seed,
    }
    recipe = Recipe(
        name=f"{options.name}/.mined",
        schema=mining.SCHEMA,
        settings=settings,
        inputs=(shown.sidecar,) if shown else (),
        what="reading captions",
    )
    plan = mining.Mining(
        captions=options.captions,
        excluded=excluded,
        boxes=shown.sidecar if shown else "",
        verifier=verifier,
        seed=options.seed,
    )
    mined = annotate(mining.mine_shard, shards, recipe, plan, options)
    print("\n".join(caption_lines(mined.counts)), flush=True)
    mined.finish()
    if unfinished(shards, recipe):
        print("other parts are still to come; the last of them writes the counts", flush=True)
        return
    _keep(shards, recipe, options)


def _shown(shards: Sequence[Path], options: Counts) -> Shown | None:
    """What the pictures show; None where nobody looks."""
    sidecar = BOXES + options.name.removeprefix(COUNTS)
    if options.detector is not None:
        detector = Detector(
            folder=options.detector,
            prompted=options.open_vocabulary,
            captions=options.captions,
            batch=options.batch,
            device=str(device_of(options.device)),
        )
        return from_detector(detector, sidecar, shards, options)
    if options.boxes is None:
        return None
    if Path(options.boxes).is_file():
        return from_file(Path(options.boxes), sidecar, shards, options)
    if Path(options.boxes).name != options.boxes or Path(options.boxes).suffix:
        raise InputError(f"--boxes {options.boxes}: no such file")
    return from_sidecar(options.boxes, shards)


def _keep(shards: Sequence[Path], mined: Recipe, options: Counts) -> None:
    """Write the counts of all shards from what every caption came to."""
    last = last_tickets(shards, mined.name, options.balance, options.seed)
    settings = {**mined.settings, "balance": options.balance, "last": last}
    recipe = Recipe(
        name=options.name,
        schema=KEPT,
        settings=settings,
        inputs=(mined.name,),
        what="writing counts",
    )
    plan = Keeping(mined=mined.name, last=last, seed=options.seed)
    whole = replace(options, part="1/1")
    written = annotate(keep_shard, shards, recipe, plan, whole)
    written.finish()
    print("\n".join(number_table(shards, plan)))
    kept, over = written.counts["kept"], written.counts["over the limit"]
    print(conserved(kept + over, {"kept": kept, "over the limit": over}, "verified samples"))
    where = f"annotations/{mined.name} beside the shards"
    if options.ledger is not None:
        lines = write_ledger(options.ledger, shards, plan)
        where = f"{options.ledger} ({lines:,} lines)"
    print(f"every caption with a number that was left out is named in {where}", flush=True)
