"""What a model is asked about a caption or a picture: presets, and templates from a file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data_tools.lots import rng
from data_tools.rewriting.backends import Prompt
from data_tools.rewriting.examples import FLUENT, PLAIN, TWO_VIEWS, VIVID, Pairs
from vlp.errors import InputError

_SHOWN = 3  # example pairs in a prompt
_PLACE = re.compile(r"\{(\w+)\}")
_PLACES = ("caption", "other", "image")


@dataclass(frozen=True)
class Template:
    """How a prompt is made.

    `{caption}` stands for the sample's caption, `{other}` for a text of another sidecar, `{image}`
    (anywhere) says that the picture is shown.
    """

    name: str
    instruction: str  # what a chat model is told
    completion: str | None  # what a model without chat goes on from; None: it will not do
    examples: Pairs = ()
    is_faithful: bool = True  # an answer has to keep the caption's numbers and names

    def uses(self, place: str) -> bool:
        """Whether a placeholder occurs."""
        return f"{{{place}}}" in self.instruction + (self.completion or "")

    @property
    def is_rewrite(self) -> bool:
        """Whether answers say again what a caption says, without a look at the picture."""
        return self.uses("caption") and not self.uses("image")

    def prompt(self, texts: Mapping[str, str], seed: int, *names: str) -> Prompt:
        """The prompt for these texts, still without key.

        Args:
            texts: by placeholder; they become single lines without `=>`.
            seed: with `names`, of the examples that are shown.
        """
        texts = {place: one_line(text) for place, text in texts.items()}
        shown: list[tuple[str, str]] = []
        if self.examples:
            shown = rng(seed, "examples", *names).sample(self.examples, _SHOWN)
        asked = _filled(self.instruction, texts)
        messages = [("user", asked)]
        for number, (caption, rewrite) in enumerate(shown):
            opening = f"{asked}\n\n{caption}" if not number else caption
            messages[-1:] = [("user", opening), ("assistant", rewrite), ("user", texts["caption"])]
        blocks = [f"{caption} => {rewrite}\n\n" for caption, rewrite in shown]
        completion = None
        if self.completion is not None:
            completion = _filled(self.completion, texts | {"examples": "".join(blocks)})
        return Prompt(tuple(messages), completion, key="")

    def identity(self) -> dict[str, Any]:
        """All that decides its prompts, as JSON."""
        return {
            "template": self.name,
            "instruction": self.instruction,
            "completion": self.completion,
            "examples": [list(pair) for pair in self.examples],
        }


def one_line(text: str) -> str:
    """A text without line breaks and without the sign that separates caption and rewrite."""
    return " ".join(text.split()).replace("=>", "->")


def _filled(template: str, texts: Mapping[str, str]) -> str:
    # all at once: a caption may itself hold "{other}"
    filled = {"image": "", **texts}
    return _PLACE.sub(lambda place: filled.get(place[1], place[0]), template)


def _in_context(name: str, examples: Pairs) -> Template:
    header = "Say each image caption in other words. Keep every number and name."
    return Template(name, header, f"{header}\n\n{{examples}}{{caption}} =>", examples)


def _instruct(name: str, told: str, shown: str, cue: str, *, is_faithful: bool = True) -> Template:
    only = "Answer with that text alone, on one line."
    return Template(
        name, f"{told} {only}\n\n{shown}", f"{told}\n\n{shown}\n{cue}:", is_faithful=is_faithful
    )


def _look(name: str, told: str, completion: str | None = None) -> Template:
    return Template(name, f"{{image}}{told}", completion, is_faithful=False)


PRESETS: Mapping[str, Template] = MappingProxyType(
    {
        template.name: template
        for template in (
            _in_context("examples-fluent", FLUENT),
            _in_context("examples-vivid", VIVID),
            _in_context("examples-two-views", TWO_VIEWS),
            _in_context("examples-plain", PLAIN),
            _instruct(
                "rephrase",
                "Say this image caption in other words. Keep its meaning and every number and "
                "name, and add nothing that it does not say.",
                "Caption: {caption}",
                "In other words",
            ),
            _instruct(
                "concise",
                "Shorten this image caption to what can be seen, in at most fifteen words. Keep "
                "numbers and names of what is shown; leave out advertising, file names and codes.",
                "Caption: {caption}",
                "Short caption",
                is_faithful=False,
            ),
            _instruct(
                "clean",
                "Turn this text, which stood beside an image on the web, into one correct English "
                "sentence about the image. Keep all that it tells and add nothing.",
                "Text: {caption}",
                "Sentence",
            ),
            _instruct(
                "fuse",
                "Here are two texts on one image. The first comes from the web: its names, places "
                "and facts are right, its wording may be poor. The second was written by a "
                "program that saw the image: its wording is good, its details may be wrong. Write "
                "one sentence with what is seen and with the names and facts of the first. Do not "
                "just put one after the other.",
                "First text: {caption}\nSecond text: {other}",
                "One sentence",
            ),
            _look("caption-short", "Describe this image in one short sentence.", completion=""),
            _look(
                "caption-detailed",
                "Describe this image in three or four sentences: the objects, how many there are, "
                "their colours and positions, what happens, and the background. Do not guess at "
                "what cannot be seen. Write one paragraph.",
            ),
            _look(
                "caption-realigned",
                "This text stood beside the image: {caption}\nWrite one sentence that describes "
                "the image. Take over names and facts from the text where they fit what you see, "
                "and leave out what does not.",
            ),
        )
    }
)


def find_template(preset: str, file: Path | None) -> Template:
    """The template that `--preset` or `--template` means.

    Raises:
        InputError: neither or both, an unknown name, a file that is no template.
    """
    if bool(preset) == (file is not None):
        raise InputError(f"give --preset NAME or --template FILE; presets: {', '.join(PRESETS)}")
    if file is not None:
        return read_template(file)
    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: choices are {', '.join(PRESETS)}")
    return PRESETS[preset]


def read_template(path: Path) -> Template:
    """A template from a text file, or from JSON with `instruction` and `completion`.

    A plain text serves for both forms; a model without chat goes on after its end.

    Raises:
        InputError: no such file, no text, a placeholder that does not exist, or none at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--template {path}: {error}") from None
    instruction = completion = text.rstrip("\n")
    if path.suffix == ".json":
        instruction, completion = _from_json(path, text)
    template = Template(path.stem, instruction, completion)
    found = set(_PLACE.findall(instruction + completion))
    unknown = sorted(found - set(_PLACES))
    if unknown or not found:
        wrong = f"unknown {{{unknown[0]}}}" if unknown else "no placeholder"
        raise InputError(f"--template {path}: {wrong}; there are {{caption}}, {{other}}, {{image}}")
    return template


def _from_json(path: Path, text: str) -> tuple[str, str]:
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise InputError(f"--template {path}: {error}") from None
    names = {"instruction", "completion"}
    if (
        not isinstance(fields, dict)
        or set(fields) != names
        or not all(isinstance(value, str) for value in fields.values())
    ):
        raise InputError(f"--template {path}: expected the texts `instruction` and `completion`")
    return fields["instruction"], fields["completion"]
