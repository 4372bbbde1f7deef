"""The page's files: nothing inline that the server's policy forbids, no loose ends, contrast."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import vlp.serve

PAGE = Path(vlp.serve.__file__).parent / "page"
HTML = (PAGE / "index.html").read_text(encoding="utf-8")
CSS = (PAGE / "page.css").read_text(encoding="utf-8")
MODULES = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))}


class Elements(HTMLParser):
    """Tags with their attributes and the text inside scripts and styles."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.feed(HTML)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


ELEMENTS = Elements().found
IDS = [attributes["id"] for _, attributes in ELEMENTS if "id" in attributes]


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    assert not [tag for tag, _ in ELEMENTS if tag == "style"]
    for tag, attributes in ELEMENTS:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for name in ("src", "href"):
            assert re.match(r"(#|data:image/|[a-z]+\.(js|css)$)", attributes.get(name, "#")), tag
    assert not re.search(r"<script[^>]*>[^<]", HTML)
    for text in (CSS, *MODULES.values()):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|innerHTML|\beval\b", text)


def test_ids_are_there_once():
    assert len(IDS) == len(set(IDS))
    wanted = re.findall(r'byId\("([a-z-]+)"\)', "".join(MODULES.values()))
    wanted += [f"icon-{name}" for name in re.findall(r'icon\("(\w+)"\)', "".join(MODULES.values()))]
    for _, attributes in ELEMENTS:
        for name in ("for", "aria-controls", "aria-labelledby", "aria-describedby"):
            wanted += attributes.get(name, "").split()
        wanted += re.findall(r"^#(.+)", attributes.get("href", ""))
    assert set(wanted) <= set(IDS)


def test_what_modules_import_is_there():
    imported = {"page.js"}
    for text in MODULES.values():
        for names, file in re.findall(r'^import (.+?) from "\./([a-z]+\.js)";$', text, re.M | re.S):
            imported.add(file)
            for name in re.findall(r"\w+", names) if names.startswith("{") else []:
                assert re.search(rf"^export .*\b{name}\b", MODULES[file], re.M), (name, file)
                assert len(re.findall(rf"\b{name}\b", text)) > 1, (name, "is not used")
    assert imported == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_small_and_say_what_they_are(name):
    lines = MODULES[name].splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= 400
    assert max(map(len, lines)) <= 100
    start = 0
    for number, line in enumerate(lines):
        if re.match(r"(  )?(export )?(async )?(function )?\w+\(.*\{$|export class", line):
            start = number
        if line in ("}", "  }"):
            assert number - start < 60, lines[start]


def colours():
    """The variables of both schemes."""
    light, dark = CSS.split("prefers-color-scheme: dark", 1)
    return {
        name: dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", text))
        for name, text in (("light", light), ("dark", dark))
    }


def luminance(colour):
    """Relative luminance by WCAG 2.1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme):
    """WCAG 2.1 AA: 4.5 to 1 for text (1.4.3), 3 to 1 for edges of controls (1.4.11)."""
    found = colours()[scheme]
    text = itertools.product(["ink", "soft"], ["page", "card", "tint", "wash"])
    pairs = dict.fromkeys(text, 4.5)
    pairs |= {("accent", "page"): 4.5, ("accent", "card"): 4.5, ("on-accent", "accent"): 4.5}
    pairs |= {("bad", "bad-wash"): 4.5, ("soft", "bad-wash"): 4.5, ("ink", "note-wash"): 4.5}
    pairs |= {("edge", "page"): 3, ("edge", "card"): 3}
    for (one, other), least in pairs.items():
        high, low = sorted((luminance(found[one]), luminance(found[other])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= least, (one, other)
