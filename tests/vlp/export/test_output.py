"""An exported folder is the old one, the new one, or absent, whatever happens to the command."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vlp.export.tiny import write_model
from vlp.errors import InputError, RunError
from vlp.export import output as output_module
from vlp.export.exporting import export_model
from vlp.export.output import check_output, files_of, write_folder


def fill(text):
    def write(folder):
        (folder / "weights").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "config").write_text(text)
        (folder / "vlp_export.json").write_text(json.dumps({"files": files_of(folder)}))
        return text

    return write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_written_and_replaced(tmp_path):
    out = tmp_path / "deep" / "out"
    assert write_folder(out, fill("old")) == "old"
    assert write_folder(out, fill("new")) == "new"
    assert (out / "inner" / "config").read_text() == "new"
    assert names(tmp_path / "deep") == ["out"]


def test_where_folders_cannot_be_swapped_in_one_step(tmp_path, monkeypatch):
    monkeypatch.setattr(output_module, "_exchange", lambda one, other: False)
    for text in ("old", "new"):
        write_folder(tmp_path / "out", fill(text))
        assert (tmp_path / "out" / "weights").read_text() == text
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [RunError("x"), InputError("x"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(error, tmp_path):
    write_folder(tmp_path / "out", fill("old"))

    def fail(folder):
        (folder / "weights").write_text("half")
        raise error

    with pytest.raises(type(error)):
        write_folder(tmp_path / "out", fail)
    assert (tmp_path / "out" / "weights").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_full_disk_is_a_failure_of_the_work(tmp_path):
    def fail(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"out could not be written: .*No space left"):
        write_folder(tmp_path / "out", fail)
    assert not names(tmp_path)


KILLED = """
import sys, time
from pathlib import Path
from vlp.export.output import write_folder
def fill(folder):
    (folder / "weights").write_text("half")
    print("half", flush=True)
    time.sleep(60)
write_folder(Path(sys.argv[1]), fill)
"""


def test_a_killed_export_leaves_no_half_folder(tmp_path):
    write_folder(tmp_path / "out", fill("old"))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "out" / "weights").read_text() == "old"
    (left,) = set(names(tmp_path)) - {"out"}
    assert re.fullmatch(r"\.out\..+\.tmp", left)
    write_folder(tmp_path / "out", fill("new"))
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "weights").read_text() == "new"


REPLACES = """
import sys
from pathlib import Path
from vlp.export.output import write_folder
number = 0
def fill(folder):
    for name in ("a", "b"):
        (folder / name).write_text(str(number))
while True:
    write_folder(Path(sys.argv[1]), fill)
    number += 1
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs renameat2")
def test_whoever_looks_sees_a_whole_folder_at_any_moment(tmp_path):
    command = [sys.executable, "-c", REPLACES, str(tmp_path / "out")]
    with subprocess.Popen(command) as process:
        while not (tmp_path / "out").exists():
            time.sleep(0.01)
        seen = set()
        for _ in range(300):
            folder = os.open(tmp_path / "out", os.O_RDONLY)  # fails if there is none
            try:
                texts = [Path(f"/proc/self/fd/{folder}/{n}").read_text() for n in ("a", "b")]
            except FileNotFoundError:
                continue  # the old one, which is being removed
            finally:
                os.close(folder)
            assert texts[0] == texts[1]
            seen.add(texts[0])
        process.kill()
    assert len(seen) > 1


def test_what_may_not_be_replaced(tmp_path, monkeypatch):
    check_output(tmp_path / "absent", overwrite=False)
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", overwrite=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file or a link"):
        check_output(tmp_path / "file", overwrite=True)
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with pytest.raises(InputError, match="a file or a link"):
        check_output(tmp_path / "link", overwrite=True)
    write_folder(tmp_path / "out", fill("old"))
    with pytest.raises(InputError, match="--overwrite replaces an earlier export"):
        check_output(tmp_path / "out", overwrite=False)
    check_output(tmp_path / "out", overwrite=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"is no earlier export \(it has no vlp_export.json\)"):
        check_output(tmp_path / "precious", overwrite=True)
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(InputError, match="you are in it"):
        check_output(tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("name", [".git/HEAD", "README.md", "weights", "onnx/image.onnx"])
def test_what_was_added_or_edited_since_is_not_replaced(name, tmp_path):
    out = tmp_path / "out"
    write_folder(out, fill("old"))
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("work of hours")
    with pytest.raises(InputError, match=f"added or edited since the export: {name};"):
        check_output(out, overwrite=True)
    (out / name).unlink()
    check_output(out, overwrite=True)


def test_a_place_inside_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "complete.json").write_text("{}")
    with pytest.raises(InputError, match=f"inside the checkpoint {tmp_path}"):
        check_output(tmp_path / "model" / "out", overwrite=False)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"files": 1}', "\udc80"])
def test_a_mark_that_is_none(content, tmp_path):
    (tmp_path / "vlp_export.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="is no earlier export"):
        check_output(tmp_path, overwrite=True)


def test_a_model_can_replace_the_export_that_it_is_loaded_from(tmp_path):
    folder = write_model(tmp_path / "model")
    out = tmp_path / "out"
    first = export_model(folder, "open_clip", out)
    again = export_model(out, "open_clip", out, overwrite=True)
    assert again.fingerprint == first.fingerprint
    assert names(tmp_path) == ["model", "out"]
