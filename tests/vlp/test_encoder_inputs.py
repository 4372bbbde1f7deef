"""What encoders take: pictures and texts in every form, one or several, and what they refuse."""

import io
import logging
import resource

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import vlp
from tests.vlp.huggingface_folders import build_folder
from vlp.checkpoint import publish
from vlp.errors import InputError
from vlp.model import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer


@pytest.fixture(scope="module")
def ours(tmp_path_factory, tiny_arch):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(3)
    model = build_model(ModelConfig(arch=tiny_arch))
    facts = {"weights": "last", "samples_seen": 5, "step": 1, "recipe": {}}
    tokenizer = build_tokenizer(model.description.model_cfg)
    publish(folder, model.clip.state_dict(), model.description, tokenizer, facts)
    return vlp.load(folder, "cpu")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    return vlp.load(build_folder(tmp_path_factory.mktemp("hf") / "siglip", "siglip"), "cpu")


@pytest.fixture(params=["ours", "siglip"])
def encoder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 31, 3), dtype=np.uint8)


def saved(image, form="PNG", **options):
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def test_every_form_of_a_picture_gives_the_same_features(encoder, pixels, tmp_path):
    image = Image.fromarray(pixels)
    path = tmp_path / "a.png"
    path.write_bytes(saved(image))
    channels_first = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [
        image,
        path,
        str(path),
        saved(image),
        pixels,
        pixels.astype(np.float32) / 255,
        pixels.astype(np.float64) / 255,
        pixels.astype(np.float32) / 255 * 1.0004 - 0.0002,  # a little outside of [0, 1]
        channels_first,
        channels_first.float() / 255,
        pixels[:, ::-1][:, ::-1],  # a view with strides of its own
    ]
    expected = encoder.encode_image(torch.stack([encoder.preprocess(image)]))
    assert expected.shape == (1, encoder.width)
    found = encoder.encode_image(forms)
    assert found.shape == (len(forms), encoder.width)
    assert (found - expected).abs().max() <= 1e-6
    for form in forms:
        alone = encoder.encode_image(form)
        assert alone.shape == (encoder.width,)
        assert (alone - expected[0]).abs().max() <= 1e-6
    assert encoder.encode_image(pixels[None]).shape == (1, encoder.width)


def test_grey_pictures_are_their_own_colour_three_times(encoder, pixels):
    grey = pixels[:, :, 0]
    expected = encoder.encode_image(np.stack([grey] * 3, axis=2))
    found = encoder.encode_image([grey, grey / 255, Image.fromarray(grey)])
    assert (found - expected).abs().max() <= 1e-6


def test_a_turned_photo_is_seen_upright_in_every_form(encoder, pixels, tmp_path):
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    data = saved(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    path = tmp_path / "turned.png"
    path.write_bytes(data)
    with Image.open(path) as opened:
        found = encoder.encode_image([data, path, opened])
        assert opened.size == (40, 31)  # what the user holds stays as it is
    assert (found - encoder.encode_image(upright)).abs().max() <= 1e-6


def test_transparent_pictures_lie_on_white(encoder):
    clear = Image.new("RGBA", (30, 30), (255, 0, 0, 0))
    found = encoder.encode_image([clear, saved(clear)])
    white = encoder.encode_image(Image.new("RGB", (30, 30), "white"))
    assert (found - white).abs().max() <= 1e-6


def test_batches_and_generators_give_what_one_pass_gives(encoder, pixels):
    several = [Image.fromarray(np.roll(pixels, k, 0)) for k in range(7)]
    expected = encoder.encode_image(several)
    drawn = []

    def draw():
        for image in several:
            drawn.append(image)
            yield image

    assert (encoder.encode_image(draw(), batch_size=3) - expected).abs().max() <= 1e-6
    assert len(drawn) == 7
    ready = torch.stack([encoder.preprocess(image) for image in several])
    assert (encoder.encode_image(ready, batch_size=2) - expected).abs().max() <= 1e-6
    texts = ["red circle", "a", "two dogs on the left", "photo"]
    whole = encoder.encode_text(texts)
    assert (encoder.encode_text(iter(texts), batch_size=3) - whole).abs().max() <= 1e-6
    assert (encoder.encode_text(texts[2]) - whole[2]).abs().max() <= 1e-6


def test_one_open_file_may_stand_in_several_places(ours, tmp_path):
    """It is decoded when it is first looked at, which two threads cannot do at a time."""
    path = tmp_path / "noise.png"
    Image.effect_noise((500, 500), 90).convert("RGB").save(path)
    with Image.open(path) as lazy, Image.open(path) as other:
        found = ours.encode_image([lazy, other, *[lazy] * 14])
    assert found.shape == (16, ours.width)
    assert (found - ours.encode_image(path)).abs().max() <= 1e-6


def test_frames_are_seen_as_they_were_when_they_were_drawn(ours):
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "lime", "blue")]
    data = io.BytesIO(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    with Image.open(data) as film:
        found = ours.encode_image(ImageSequence.Iterator(film))
    assert (found - ours.encode_image(frames)).abs().max() <= 1e-5


def test_pixels_of_the_models_size_are_one_pass_unless_a_size_is_given(ours):
    passes = []
    own = ours._image_features
    ready = torch.zeros(70, 3, *ours.image_size, dtype=torch.uint8)
    try:
        ours._image_features = lambda pixels: passes.append(len(pixels)) or own(pixels)
        ours.encode_image(ready)
        ours.encode_image(ready, batch_size=40)
        ours.encode_image(list(ready))
    finally:
        del ours._image_features
    assert passes == [70, 40, 30, 64, 6]


def test_nothing_gives_no_rows(encoder):
    empty = torch.zeros(0, 3, *encoder.image_size, dtype=torch.uint8)
    for found in (
        encoder.encode_image([]),
        encoder.encode_image(empty),
        encoder.encode_image(iter(())),
        encoder.encode_text([]),
    ):
        assert found.shape == (0, encoder.width)
    assert encoder.truncated([]) == 0
    assert encoder.text_lengths([]) == []


def test_features_are_of_unit_length_and_float32_in_every_precision(tmp_path, encoder, pixels):
    half = vlp.load(encoder.path, "cpu", "bf16")
    assert half.fingerprint == encoder.fingerprint
    for one in (encoder, half):
        for found in (one.encode_image(pixels), one.encode_text("red circle")):
            assert found.dtype == torch.float32
            assert float(found.norm()) == pytest.approx(1, abs=1e-5)
    cosine = half.encode_image(pixels) @ encoder.encode_image(pixels)
    assert 0.99 < float(cosine) <= 1.0001


BAD = [
    (np.zeros((3, 8, 8), np.uint8), InputError, r"shape \[3, 8, 8\]: an array is \[H, W, 3\]"),
    (np.zeros((8, 8, 4), np.uint8), InputError, r"shape \[8, 8, 4\]"),
    (np.zeros((0, 8), np.uint8), InputError, r"shape \[0, 8\]"),
    (np.zeros((8, 8, 3), np.int64), InputError, r"dtype int64: choices are uint8 and floats"),
    (np.full((8, 8, 3), 255.0), InputError, r"values from 255 to 255: floats are pixels in \[0, 1"),
    (np.full((8, 8, 3), np.nan), InputError, r"values from nan to nan"),
    (torch.zeros(8, 8, 3, dtype=torch.uint8), InputError, r"shape \[8, 8, 3\]: a tensor is \[3, H"),
    (torch.randn(3, 8, 8), InputError, r"floats are pixels in \[0, 1\], not yet normalised"),
    ("nowhere.jpg", InputError, r"\(nowhere.jpg\) cannot be read: No such file"),
    ("nul\0.jpg", InputError, r"cannot be read: embedded null byte"),
    ("https://example.com/a.jpg", InputError, r"No such file.*; addresses are not fetched"),
    (b"no picture", InputError, r"is not readable"),
    (b"", InputError, r"the file is empty"),
    (7, TypeError, r"is of type int: choices are a PIL image, a path"),
    (None, TypeError, r"is of type NoneType"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD)
def test_what_is_no_picture_is_refused_by_its_place(ours, pixels, bad, error, message):
    with pytest.raises(error, match=f"picture 2.*{message}"):
        ours.encode_image([pixels, pixels, bad])


def test_a_picture_alone_is_refused_without_a_place(ours, tmp_path):
    path = tmp_path / "torn.jpg"
    path.write_bytes(saved(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")[:900])
    with pytest.raises(InputError, match=r"^the picture \(.*torn.jpg\) is not readable: .*trunc"):
        ours.encode_image(path)
    with Image.open(path) as lazy, pytest.raises(InputError, match=r"^the picture is not readable"):
        ours.encode_image(lazy)
    with pytest.raises(TypeError, match="int is no picture"):
        ours.encode_image(7)


def test_bombs_and_documents_are_refused_as_files_and_as_open_images(ours, monkeypatch):
    bomb = saved(Image.new("1", (20_000, 6_000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for form in (bomb, Image.open(io.BytesIO(bomb))):
        with pytest.raises(InputError, match=r"20000 x 6000 pixels are more than the limit"):
            ours.encode_image([form])
    document = Image.new("RGB", (8, 8))
    document.format = "EPS"
    with pytest.raises(InputError, match="the format EPS is not read"):
        ours.encode_image(document)


def test_far_too_narrow_pictures_are_refused_before_they_fill_the_memory(ours):
    """Resized to a short side of 16 pixels, it has 32 million in the other."""
    line = Image.new("1", (1, 2_000_000))
    data = saved(line)
    assert len(data) < 5000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for form in (data, line, np.zeros((2_000_000, 1), np.uint8)):
        with pytest.raises(InputError, match=r"picture 0 .*1 x 2000000 pixels: far too narrow"):
            ours.encode_image([form])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_has_at_least_one(encoder, pixels, size):
    with pytest.raises(InputError, match=f"batch_size {size}: expected 1 or more"):
        encoder.encode_image(pixels, batch_size=size)
    with pytest.raises(InputError, match=f"batch_size {size}: expected 1 or more"):
        encoder.encode_text("a", batch_size=size)


@pytest.mark.parametrize("bad", [3, None, b"bytes", ["nested"]])
def test_what_is_no_text_is_refused_by_its_place(encoder, bad):
    name = type(bad).__name__
    with pytest.raises(TypeError, match=rf"text 1 is of type {name}: expected a string"):
        encoder.encode_text(["a", bad])


def test_long_texts_are_counted_and_reported_once(encoder, caplog):
    room = encoder.context_length
    long = "red " * (room + 3)
    texts = ["a", long, "two dogs", f"{long} circle", "photo"]
    assert encoder.truncated(texts) == 2
    with caplog.at_level(logging.WARNING):
        encoder.encode_text(texts, batch_size=2)
    (message,) = [r.getMessage() for r in caplog.records if r.name == "vlp.encoder"]
    assert message.startswith(
        f"2 of 5 texts are cut at the context length of {room} tokens, the first: 'red red"
    )
    caplog.clear()
    encoder.encode_text(texts, report_truncated=False)
    encoder.encode_text(["a", "two dogs"])
    assert not [r for r in caplog.records if r.name == "vlp.encoder"]


def test_a_text_that_just_fits_is_not_cut(encoder):
    for words in range(1, encoder.context_length + 2):
        text = " ".join(["red"] * words)
        ids = encoder._ids([text])[0]
        longer = encoder._ids([f"{text} red"])[0]
        assert encoder.truncated([f"{text} red"]) == int(ids == longer)
