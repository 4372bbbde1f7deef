"""`build`: pictures and captions to WebDataset shards, the same bytes at any number of workers."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from data_tools.building.collection import Collection, Columns
from data_tools.building.inputs import read_input
from data_tools.building.pictures import Policy, ResizeMode
from data_tools.building.writing import Writing, write_collection
from data_tools.engine import Options
from vlp.data.images import MAX_PIXELS
from vlp.errors import InputError
from vlp.terminal import printable

_MOST_PIXELS = 2 * (1024**3 // 4 // 3)  # what Pillow takes for a decompression bomb
_USED_BY = {  # options that only some kinds of input use, and those kinds
    "image_column": "tables",
    "caption_column": "tables and tars",
    "split_column": "tables, tars and Karpathy's JSON",
    "images": "tables and COCO's JSON",
    "caption_template": "class folders",
    "templates": "class folders",
}


@dataclass(frozen=True, kw_only=True)
class Build(Options):
    """Write pictures with captions as shards.

    Args:
        input: a table (.csv, .tsv, .jsonl, .parquet) with paths or pictures, and captions; COCO's
            captions (.json); tars of others, a folder of them or a pattern; a folder that
            img2dataset wrote; a folder of pictures with .txt captions of the same name, or of
            class folders, or such a folder in a tar.
        output: folder or URL (s3://BUCKET/NAME) of the shards; with several splits, of one folder
            for each of them.
        image_column: the table's column of paths, absolute or relative to the table, or of the
            pictures' own bytes.
        caption_column: the table's column of captions, a text or a list of texts; for tars, the
            field of the .json members.
        split_column: the column or field that says which split a picture belongs to.
        images: the folder that relative paths start from, in place of the table's own.
        caption_template: caption of a picture in a class folder, with {c} for the class name.
        templates: file with more such captions, one a line; replaces caption_template.
        image_size: size in pixels to make pictures; every size is kept without it.
        resize_mode: keep_ratio makes the short side that size, keep_ratio_largest the long side;
            center_crop, border (white) and squash make squares; keep_ratio without it.
        enlarge: make pictures larger, too, that are smaller than image_size.
        quality: of pictures that are encoded as JPEG, 1 to 100.
        min_size: drop pictures whose short side has fewer pixels (too_small).
        max_aspect: drop pictures whose long side is more than this many short sides
            (too_elongated).
        max_pixels: drop pictures of more pixels, by their header (failed_to_decode).
        animated: what becomes of animations, their first frame or nothing (animated).
        samples_per_shard: input pictures for each shard, at most 10,000.
        restart: remove what an earlier build wrote in output, and build it anew.
        retry_failed: try the inputs that failed in an earlier build again, and write those shards
            anew that gain from it; inputs that had not failed must be as they were.
        seed: not used, as nothing is drawn.
    """

    input: str
    output: str
    image_column: str = "image"
    caption_column: str = "caption"
    split_column: str | None = None
    images: Path | None = None
    caption_template: str = "a photo of a {c}."
    templates: Path | None = None
    image_size: int | None = None
    resize_mode: ResizeMode | None = None
    enlarge: bool = False
    quality: int = 95
    min_size: int = 1
    max_aspect: float | None = None
    max_pixels: int = MAX_PIXELS
    animated: Literal["first", "drop"] = "first"
    samples_per_shard: int = 1000
    restart: bool = False
    retry_failed: bool = False


def build(options: Build) -> None:
    """Run the command.

    Raises:
        InputError: the options or the input cannot be used.
        RunError: the build stopped; the same command continues it.
    """
    policy = _policy(options)
    templates = _read_templates(options)
    writing = Writing(
        output=str(options.output),
        settings={},
        run=options,
        policy=policy,
        samples_per_shard=options.samples_per_shard,
        restart=options.restart,
        retry_failed=options.retry_failed,
    )
    columns = Columns(
        image=options.image_column, caption=options.caption_column, split=options.split_column
    )
    collection = read_input(str(options.input), columns, templates, options.images)
    print(printable(collection.kind), flush=True)
    _check_used(options, collection)
    settings = _settings(options, collection, policy)
    write_collection(collection, replace(writing, settings=settings))


def _settings(options: Build, collection: Collection, policy: Policy) -> dict[str, Any]:
    """What a resumed build must share. What younger options leave alone is not told."""
    told = {
        field.name: getattr(policy, field.name)
        for field in fields(Policy)
        if getattr(policy, field.name) != field.default
    }
    return told | {
        "image_column": options.image_column,
        "caption_column": options.caption_column,
        "split_column": options.split_column,
        "templates": list(collection.templates),
        "image_size": options.image_size,
        "samples_per_shard": options.samples_per_shard,
    }


def _policy(options: Build) -> Policy:
    for name, least in (("image_size", 1), ("min_size", 1), ("max_aspect", 1), ("max_pixels", 1)):
        value = getattr(options, name)
        if value is not None and not value >= least:
            option = "--" + name.replace("_", "-")
            unit = "" if name == "max_aspect" else f" pixel{'s' * (name == 'max_pixels')}"
            raise InputError(f"{option} {value}: expected at least {least}{unit}")
    if options.max_pixels > _MOST_PIXELS:
        raise InputError(
            f"--max-pixels {options.max_pixels}: expected at most {_MOST_PIXELS}, as Pillow "
            "refuses more"
        )
    if not 1 <= options.quality <= 100:
        raise InputError(f"--quality {options.quality}: expected 1 to 100")
    mode = options.resize_mode
    if options.image_size is None and (mode not in (None, "no") or options.enlarge):
        option = "--enlarge" if mode in (None, "no") else f"--resize-mode {mode}"
        raise InputError(f"{option}: needs --image-size")
    if options.image_size is not None and mode == "no":
        raise InputError(f"--image-size {options.image_size}: --resize-mode no keeps every size")
    return Policy(
        image_size=options.image_size,
        resize_mode="keep_ratio" if mode in (None, "no") else mode,
        enlarge=options.enlarge,
        quality=options.quality,
        min_size=options.min_size,
        max_aspect=options.max_aspect,
        max_pixels=options.max_pixels,
        animated=options.animated,
    )


def _read_templates(options: Build) -> tuple[str, ...]:
    if options.templates is None:
        templates, place = [options.caption_template], "--caption-template"
    else:
        place = f"--templates {options.templates}"
        try:
            text = options.templates.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{place}: {error}") from None
        templates = [line.strip() for line in text.splitlines() if line.strip()]
    for template in templates or [""]:
        if "{c}" not in template:
            raise InputError(f"{place}: {template!r} has no {{c}}, the place of the class name")
    return tuple(templates)


def _check_used(options: Build, collection: Collection) -> None:
    """Refuse options that this kind of input would ignore."""
    for name, kinds in _USED_BY.items():
        value = getattr(options, name)
        if value != getattr(Build, name) and name not in collection.options:
            option = "--" + name.replace("_", "-")
            raise InputError(
                f"{option} {value}: only for {kinds}, but the input is a {collection.kind}"
            )
