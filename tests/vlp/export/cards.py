"""Running the programs of a model card as its readers would."""

import re
from pathlib import Path


def programs(folder):
    """The Python of a card."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_programs(folder, picture, monkeypatch):
    """Run them one after the other beside the folder, with a picture; returns their names."""
    picture.save(folder.parent / "picture.jpg", quality=95)
    monkeypatch.chdir(folder.parent)
    names = {}
    for program in programs(folder):
        exec(compile(program, str(Path(folder, "README.md")), "exec"), names)
    return names
