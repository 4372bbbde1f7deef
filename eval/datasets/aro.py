"""ARO (Yuksekgonul et al. 2023): relations, attributes and the order of words.

visual_genome_relation.json and visual_genome_attribution.json: a list of {image_path, bbox_x,
bbox_y, bbox_w, bbox_h, true_caption, false_caption, relation_name or attributes}; with both in one
folder `--split` names one. The pictures in images/, of which the box is shown. The published score
is `macro_acc`: over the relations that are not symmetric (the others count in `acc` alone), and
over the pairs of attributes with 25 items or more.

COCO-Order and Flickr30k-Order: their perturbations depend on the versions of spaCy and nltk, so a
frozen list is read: {image, caption_options: [caption, perturbation, ...]} or {image,
correct_caption, hard_text_1, ...}; the pictures in images/ or where `image` says. The set is called
as its file is, and Precision@1 is `acc`.
"""

from dataclasses import replace
from pathlib import Path

from eval.datasets.dataset import EvalDataset
from eval.datasets.items import Items
from eval.datasets.pictures import Box, Pictures
from eval.datasets.published import as_dataset, choose, entries, find, number, text
from vlp.data.tables import Row

NAMES = {
    "visual_genome_relation": "vg_relation",
    "visual_genome_attribution": "vg_attribution",
}
_FEWEST = 25  # items of a pair of attributes
_TRUE, _OPTIONS, _HARD = "correct_caption", "caption_options", "hard_text_"
# the relations of which the authors leave out the accuracy, as either direction may be true
SYMMETRIC = frozenset(
    """
adjusting, attached to, between, bigger than, biting, boarding, brushing, chewing, cleaning,
climbing, close to, coming from, coming out of, contain, crossing, dragging, draped over,
drinking, drinking from, driving, driving down, driving on, eating from, eating in, enclosing,
exiting, facing, filled with, floating in, floating on, flying, flying above, flying in, flying
over, flying through, full of, going down, going into, going through, grazing in, growing in,
growing on, guiding, hanging from, hanging in, hanging off, hanging over, higher than, holding
onto, hugging, in between, jumping off, jumping on, jumping over, kept in, larger than, leading,
leaning over, leaving, licking, longer than, looking in, looking into, looking out, looking
over, looking through, lying next to, lying on top of, making, mixed with, mounted on, moving,
on the back of, on the edge of, on the front of, on the other side of, opening, painted on,
parked at, parked beside, parked by, parked in, parked in front of, parked near, parked next to,
perched on, petting, piled on, playing, playing in, playing on, playing with, pouring, reaching
for, reading, reflected on, riding on, running in, running on, running through, seen through,
sitting behind, sitting beside, sitting by, sitting in front of, sitting near, sitting next to,
sitting under, skiing down, skiing on, sleeping in, sleeping on, smiling at, sniffing,
splashing, sprinkled on, stacked on, standing against, standing around, standing behind,
standing beside, standing in front of, standing near, standing next to, staring at, stuck in,
surrounding, swimming in, swinging, talking to, topped with, touching, traveling down, traveling
on, tying, typing on, underneath, wading in, waiting for, walking across, walking by, walking
down, walking next to, walking through, working in, working on, worn on, wrapped around, wrapped
in, by, of, near, next to, with, beside, on the side of, around
""".replace("\n", " ")
    .strip()
    .split(", ")
)


def recognise(folder: Path) -> bool:
    return bool(_files(folder))


def read(path: Path, split: str | None) -> EvalDataset:
    """Read one file.

    Raises:
        FileNotFoundError: none of the pictures is there.
        ValueError: several files and no split, an unknown one, or an entry without what it needs.
    """
    files = choose(path, _files(path), split)
    if len(files) > 1:
        choices = ", ".join(file.stem for file in files)
        raise ValueError(f"data {path} holds {choices}: which one is said with --split")
    rows = dict(entries(files[0]))
    attributes = any("attributes" in row.values for row in rows.values())
    pictures = Pictures(path, ("images",))
    items = Items(macro_from=_FEWEST if attributes else 1)
    for name, row in rows.items():
        if "true_caption" in row.values:
            picture = pictures.add(text(row, "image_path"), box=_box(row))
            false = (_kind(row), text(row, "false_caption"))
            items.choose_text(name, picture, text(row, "true_caption"), [false])
        else:
            image = text(row, "image", "images")
            caption, *wrong = _options(row)
            picture = pictures.add(image, Path(image).name)
            items.choose_text(name, picture, caption, [("", other) for other in wrong])
    name = NAMES.get(files[0].stem, files[0].stem)
    return replace(as_dataset("aro", path, split, pictures, items), name=name)


def _box(row: Row) -> Box:
    x, y, width, height = (number(row, f"bbox_{side}") for side in "xywh")
    return x, y, width, height


def _kind(row: Row) -> str:
    attributes = row.values.get("attributes")
    if attributes is None:
        relation = text(row, "relation_name")
        return "" if relation in SYMMETRIC else relation.replace(" ", "_")
    if not isinstance(attributes, list) or not all(isinstance(word, str) for word in attributes):
        raise ValueError(f"{row.place}: expected two words in 'attributes', got {attributes!r:.60}")
    return "_".join(attributes).replace(" ", "_")


def _options(row: Row) -> list[str]:
    """The caption, then its perturbations."""
    named = [_TRUE, *(name for name in row.values if name.startswith(_HARD))]
    options = row.values.get(_OPTIONS, [row.values.get(name) for name in named])
    if (
        not isinstance(options, list)
        or len(options) < 2
        or not all(isinstance(option, str) and option.strip() for option in options)
    ):
        raise ValueError(
            f"{row.place}: expected a caption and its perturbations, got {options!r:.80}"
        )
    return options


def _files(folder: Path) -> list[Path]:
    marks = (
        ("image_path", "true_caption", "false_caption"),
        ("image", _OPTIONS),
        (_TRUE, f"{_HARD}1"),
    )
    return [file for mark in marks for file in find(folder, ("",), "*.json", *mark)]
