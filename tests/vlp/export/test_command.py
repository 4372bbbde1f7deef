"""`vlp export` as its users meet it."""

import json
import subprocess
import sys

import pytest

from tests.vlp.export.tiny import CLIP, CONVOLUTIONAL, changed, write_model
from vlp.command_line import run
from vlp.commands.export import Export, export
from vlp.errors import InputError
from vlp.export.exporting import export_model


def command(*arguments):
    return run("vlp", "", {"export": (Export, export)}, arguments=["export", *map(str, arguments)])


def test_it_says_what_was_written_and_how_to_load_it(tmp_path, capsys):
    folder = write_model(tmp_path / "model")
    out = tmp_path / "out"
    assert command(folder, "--format", "open_clip", "--output", out) == 0
    printed = capsys.readouterr().out
    for path in set(out.iterdir()) - {out / "vlp_export.json"}:
        assert f"{path.name} " in printed
        assert f"{path.stat().st_size:,} bytes" in printed
    assert "loaded by the library itself: largest difference of a feature" in printed
    assert f'open_clip.create_model_and_transforms("local-dir:{out}")' in printed
    mark = json.loads((out / "vlp_export.json").read_text())
    assert mark["format"] == "open_clip"
    assert mark["largest_difference"] <= 1e-5


def test_a_refusal_is_one_line_and_says_what_works(tmp_path, capsys):
    config = changed(CLIP, vision_cfg={"image_size": 64, **CONVOLUTIONAL})
    folder = write_model(tmp_path / "model", config)
    assert command(folder, "--format", "transformers", "--output", tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.strip().splitlines()[-1] == (
        "error: transformers' CLIPModel cannot express this model: "
        "image tower timm's test_byobnet. Formats that can: open_clip, onnx"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "tflite", "--output", "out"], "tflite"),
        (["--format", "onnx"], "output"),
        (["--output", "out"], "format"),
    ],
)
def test_misuse_is_refused(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        command("model", *arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_model_that_is_not_there_is_refused_before_anything_is_made(tmp_path, capsys):
    output = tmp_path / "deep" / "out"
    assert command(tmp_path / "absent", "--format", "open_clip", "--output", output) == 2
    assert "absent" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_place_is_looked_at_before_the_model_is_loaded(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis").write_text("")
    with pytest.raises(InputError, match="the folder is not empty"):
        export_model(tmp_path / "absent", "open_clip", tmp_path / "out")


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="choices are open_clip, transformers, sentence-transf"):
        export_model(tmp_path, "tflite", tmp_path / "out")


def test_help_does_not_wait_for_torch():
    program = "import sys, vlp.commands.export; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
