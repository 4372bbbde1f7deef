"""The class names that a classification set keeps beside its shards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_tools.building.benchmark_layout import read_class_files
from data_tools.building.collection import Picture, with_captions


@dataclass(frozen=True)
class ClassNames:
    """The names of labels that lie beside shards, if any do, and captions made of them."""

    names: tuple[str, ...]
    templates: tuple[str, ...]

    @classmethod
    def beside(cls, folder: Path, templates: tuple[str, ...]) -> "ClassNames":
        """Those of a folder or the one above it; `templates` where it has none of its own."""
        names, own = read_class_files(folder)
        return cls(names, (own or templates) if names else ())

    def labelled(self, picture: Picture, label: object, captions: Sequence[str]) -> Picture:
        """The picture with its label, and without captions with those of its class."""
        text = str(label)
        if text.isdecimal() and int(text) < len(self.names):
            name = self.names[int(text)]
            made = [template.replace("{c}", name) for template in self.templates]
            captions = captions if any(captions) else made
            picture = replace(picture, label=int(text))
        return with_captions(picture, captions)
