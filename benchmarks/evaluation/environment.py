"""An environment of its own for CLIP_benchmark, made once, with this interpreter's packages."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

VERSION = "1.6.2"
# numpy: CLIP_benchmark takes float() of arrays with one element, an error since numpy 2.4.
# requests: imported, but not among its requirements.
_ALONE = (f"clip_benchmark=={VERSION}", "numpy<2.4", "scikit-learn", "threadpoolctl")
_WITH_ITS_OWN = ("requests",)


def peer_python() -> Path:
    """The interpreter of the environment, which is made where there is none.

    It finds what it lacks, torch and open_clip above all, among the packages of this interpreter.
    """
    folder = _cache() / f"clip_benchmark-{VERSION}"
    python = folder / "bin" / "python"
    packages = [path for path in sys.path if path.endswith("site-packages")]
    content = json.dumps([sys.version, packages, _ALONE, _WITH_ITS_OWN])
    mark = folder / "made.json"
    if mark.is_file() and mark.read_text(encoding="utf-8") == content:
        return python
    print(f"making {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--quiet"]
    subprocess.run([*install, *_WITH_ITS_OWN], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    subprocess.run([*install, "--no-deps", *_ALONE], check=True)
    (site / "ours.pth").write_text("\n".join(packages), encoding="utf-8")
    mark.write_text(content, encoding="utf-8")
    return python


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "vlp-benchmarks"
