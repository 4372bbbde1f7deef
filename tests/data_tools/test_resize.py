"""Sizes of stored pictures, and which pictures are not wanted."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_tools.build import Build, build
from data_tools.building.pictures import Policy, UnwantedPictureError, resize, store
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import rows, samples

MODES = ("keep_ratio", "keep_ratio_largest", "center_crop", "border", "squash")


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [  # img2dataset's results for 90 x 60 at `image_size`, with `resize_only_if_bigger`
        ("keep_ratio", 30, (45, 30)),
        ("keep_ratio_largest", 30, (30, 20)),
        ("center_crop", 30, (30, 30)),
        ("border", 30, (30, 30)),
        ("keep_ratio", 70, (90, 60)),
        ("keep_ratio_largest", 95, (90, 60)),
        ("center_crop", 70, (90, 60)),
        ("border", 95, (90, 60)),
        ("squash", 30, (30, 30)),
    ],
)
def test_sizes_by_mode(mode: str, size: int, expected: tuple[int, int]) -> None:
    stored = store(jpeg(0, (90, 60)), Policy(image_size=size, resize_mode=mode))
    assert (stored.width, stored.height) == expected == opened(stored.data).size
    assert stored.verbatim == (expected == (90, 60))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("keep_ratio", (180, 120)),
        ("keep_ratio_largest", (120, 80)),
        ("center_crop", (120, 120)),
        ("border", (120, 120)),
        ("squash", (120, 120)),
    ],
)
def test_smaller_pictures_grow_only_when_asked(mode: str, expected: tuple[int, int]) -> None:
    small = jpeg(0, (90, 60))
    assert store(small, Policy(image_size=120, resize_mode=mode)).data == small
    stored = store(small, Policy(image_size=120, resize_mode=mode, enlarge=True))
    assert opened(stored.data).size == expected


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.integers(1, 200),
    mode=st.sampled_from(MODES),
    enlarge=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_what_every_mode_promises(width, height, size, mode, enlarge) -> None:
    before = Image.new("RGB", (width, height))
    after = resize(before, Policy(image_size=size, resize_mode=mode, enlarge=enlarge))
    if mode == "keep_ratio":
        assert min(after.size) == (size if enlarge else min(size, width, height))
    elif mode == "keep_ratio_largest":
        assert max(after.size) == (size if enlarge else min(size, max(width, height)))
    else:
        bounded = max if mode == "border" else min
        is_square = enlarge or bounded(width, height) >= size
        assert after.size == ((size, size) if is_square else (width, height))
    assert (after is before) == (after.size == before.size)


def test_a_border_is_white_and_the_picture_in_the_middle() -> None:
    image = Image.new("RGB", (40, 20), "red")
    pixels = np.asarray(resize(image, Policy(image_size=20, resize_mode="border")))
    assert (pixels[:5] == 255).all()
    assert (pixels[15:] == 255).all()
    assert (pixels[5:15] == (255, 0, 0)).all()


def test_a_crop_takes_the_middle() -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (10, 0, 30, 20))
    pixels = np.asarray(resize(image, Policy(image_size=20, resize_mode="center_crop")))
    assert (pixels == (0, 0, 255)).all()


def test_quality_is_of_what_is_encoded() -> None:
    kept = jpeg(0, (90, 60), quality=50)
    assert store(kept, Policy(quality=10)).data == kept
    low, high = (store(kept, Policy(image_size=30, quality=q)).data for q in (10, 95))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=10)
    assert opened(low).quantization == opened(buffer.getvalue()).quantization
    assert len(low) < len(high)


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (Policy(min_size=61), "too_small"),
        (Policy(min_size=60), None),
        (Policy(max_aspect=1.49), "too_elongated"),
        (Policy(max_aspect=1.5), None),
    ],
)
def test_pictures_that_are_not_wanted(policy: Policy, status: str | None) -> None:
    data = jpeg(0, (60, 90))
    if status is None:
        assert store(data, policy).data == data
        return
    with pytest.raises(UnwantedPictureError) as raised:
        store(data, policy)
    assert raised.value.status == status


def test_drops_are_rows_with_their_reason(photos, tmp_path, command) -> None:
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue")]
    gif = tmp_path / "photos" / "0.jpg"
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    (tmp_path / "photos" / "1.jpg").write_bytes(jpeg(1, (30, 20)))
    (tmp_path / "photos" / "2.jpg").write_bytes(jpeg(1, (90, 20)))
    (tmp_path / "photos" / "3.jpg").write_bytes(jpeg(1, (99, 99)))
    code, out, _ = command(
        *("build", "--input", photos, "--output", tmp_path / "out", "--animated", "drop"),
        *("--min-size", 17, "--max-aspect", 2, "--max-pixels", 9000),
    )
    assert code == 0
    told = "1 animated + 1 failed_to_decode + 1 too_elongated + 3 too_small"
    assert f"7 inputs = 1 written + {told}" in out
    table = rows(tmp_path / "out" / "00000.tar")
    assert (table[0]["frames"], table[2]["original_width"]) == (2, 90)
    assert table[2]["error_message"] == "90 x 20 pixels: longer than 2 times its short side"
    assert "9801 pixels" in table[3]["error_message"] or "99 x 99" in table[3]["error_message"]


def test_settings_name_only_what_differs(photos, tmp_path) -> None:
    def settings_of(name: str, **options: object) -> set[str]:
        build(Build(input=photos, output=tmp_path / name, workers=1, **options))
        return set(json.loads((tmp_path / name / "manifest.json").read_text())["settings"])

    usual = settings_of("a")
    assert usual == {
        *("image_column", "caption_column", "split_column", "templates", "image_size"),
        "samples_per_shard",
    }
    assert settings_of("b", image_size=8, resize_mode="keep_ratio") == usual
    assert settings_of("c", image_size=8, resize_mode="border", quality=90) == usual | {
        "resize_mode",
        "quality",
    }
    assert samples(tmp_path / "c" / "00000.tar")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resize-mode", "border"], "--resize-mode border: needs --image-size"),
        (["--enlarge"], "--enlarge: needs --image-size"),
        (["--resize-mode", "no", "--image-size", "8"], "--image-size 8: --resize-mode no"),
        (["--quality", "0"], "--quality 0: expected 1 to 100"),
        (["--min-size", "0"], "--min-size 0: expected at least 1 pixel"),
        (["--max-aspect", "0.5"], "--max-aspect 0.5: expected at least 1"),
        (["--max-aspect", ".nan"], "--max-aspect nan: expected at least 1"),
        (["--max-pixels", "0"], "--max-pixels 0: expected at least 1 pixels"),
        (["--images", "nowhere"], "--images nowhere: no such folder"),
    ],
)
def test_options_that_make_no_sense(photos, tmp_path, command, arguments, message) -> None:
    code, _, err = command("build", "--input", photos, "--output", tmp_path / "out", *arguments)
    assert code == 2
    assert message in err
