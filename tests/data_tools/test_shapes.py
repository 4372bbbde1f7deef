"""`shapes`: reproducible bytes, texts that are true of the pictures, sidecars that join."""

import hashlib
import io
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_tools.shapes import Shapes, _is_numbered, shapes
from data_tools.world.captions import caption_of, describe
from data_tools.world.drawing import _PAINT, draw_scene
from data_tools.world.scenes import (
    COLOURS,
    NUMBERS,
    RELATIONS,
    Scene,
    make_labelled,
    make_scene,
)
from data_tools.world.sidecars import SCHEMAS, SIDECARS, boxes_of
from tests.data_tools.trees import fields, files, samples
from vlp.data.index import caption_sha256, sidecar_path

WORD_VALUES = {word: value for value, word in NUMBERS.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    shapes(Shapes(output=folder, pairs=60, seed=3, workers=1))
    return folder


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of counted scenes of which few say the number."""
    folder = tmp_path_factory.mktemp("counting")
    shapes(Shapes(output=folder, pairs=80, seed=3, kinds={"count": 1}, numbers=0.3, workers=1))
    return folder


def scenes(number: int) -> list[Scene]:
    return [make_scene(1, "train", place) for place in range(number)]


def words(text: str) -> Counter[str]:
    """The words of a text, with one article for both."""
    return Counter(re.sub(r"\ban\b", "a", text).split())


def captions(shard: Path) -> dict[str, str]:
    return {key: members["txt"].decode() for key, members in samples(shard).items()}


def sidecar(shard: Path, name: str) -> dict[str, dict[str, object]]:
    """The rows of a sidecar by key."""
    return {row["key"]: row for row in pq.read_table(sidecar_path(shard, name)).to_pylist()}


def test_equal_seeds_give_equal_bytes_at_any_number_of_workers(world, counting, tmp_path) -> None:
    shapes(Shapes(output=tmp_path / "again", pairs=60, seed=3, workers=2))
    assert files(tmp_path / "again") == files(world)
    few = Shapes(output=tmp_path / "few", pairs=80, seed=3, kinds=["count"], numbers=0.3, workers=2)
    shapes(few)
    assert files(tmp_path / "few") == files(counting)


def test_the_texts_of_a_seed_stay_as_they_are() -> None:
    told = [describe(scene, random.Random(place)) for place, scene in enumerate(scenes(300))]
    texts = [
        line for text in told for line in (text.caption, *text.rewrites, *map(str, text.negatives))
    ]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    assert digest.startswith("acc2ed79052b82ed")


def test_another_seed_gives_other_pictures(world: Path, tmp_path: Path) -> None:
    shapes(Shapes(output=tmp_path / "other", pairs=60, seed=4, workers=1))
    one, two = files(world), files(tmp_path / "other")
    assert one["train/00000.tar"] != two["train/00000.tar"]


def test_sidecars_join_by_key_and_caption(world: Path) -> None:
    for split in ("train", "test"):
        shard = world / split / "00000.tar"
        texts = {key: members["txt"] for key, members in samples(shard).items()}
        written = {path.name for path in (world / split / "annotations").iterdir()}
        assert written == {"index", *SIDECARS[split]}
        for name in SIDECARS[split]:
            table = pq.read_table(sidecar_path(shard, name))
            assert table.schema.equals(SCHEMAS[name])
            for row in table.to_pylist():
                assert row["src_sha256"] == caption_sha256(texts[row["key"]])
                assert texts[row["key"]].decode() not in (row.get("texts") or [])
            if name != "counts":
                assert table["key"].to_pylist() == list(texts)


def test_both_splits_have_swapped_attributes(world: Path) -> None:
    for split in ("train", "test"):
        shard = world / split / "00000.tar"
        texts, swaps = captions(shard), 0
        for key, row in sidecar(shard, "negatives").items():
            for false, kind in zip(row["texts"], row["kinds"], strict=True):
                if kind == "swap":
                    swaps += 1
                    assert words(false) == words(texts[key])
                    assert false != texts[key]
        assert swaps > 10


def test_counts_agree_with_the_caption_and_the_scene(world: Path) -> None:
    shard = world / "train" / "00000.tar"
    texts = captions(shard)
    rows = pq.read_table(sidecar_path(shard, "counts")).to_pylist()
    assert rows
    for row in rows:
        words = texts[row["key"]].split()
        assert WORD_VALUES[words[0]] == row["count"]
        assert texts[row["key"]].startswith(f"{words[0]} {row['noun']}")
        other = row["counterfactual"].split()
        assert other[0] in WORD_VALUES
        assert other[0] != words[0]
        assert other[1:] == words[1:]
    counted = {row["key"] for row in rows}
    assert {key for key, text in texts.items() if text.split()[0] in WORD_VALUES} == counted


def test_a_count_is_the_number_of_objects_drawn() -> None:
    for scene in scenes(300):
        for thing in scene.things:
            drawn = sum(spot.thing == thing for spot in scene.spots)
            if scene.kind == "count":
                assert drawn == (scene.count if thing == scene.things[0] else 1)
        assert len({(spot.x, spot.y) for spot in scene.spots}) == len(scene.spots)


def test_objects_are_inside_and_do_not_touch() -> None:
    for scene in scenes(500):
        for place, spot in enumerate(scene.spots):
            assert spot.radius <= min(spot.x, spot.y, 1 - spot.x, 1 - spot.y) + 1e-9
            for other in scene.spots[:place]:
                apart = max(abs(spot.x - other.x), abs(spot.y - other.y))
                assert apart > (spot.radius + other.radius) * 1.02


def test_relations_hold_in_the_picture() -> None:
    for scene in scenes(500):
        if scene.kind == "pair":
            first, second = scene.spots
            across, down = RELATIONS[scene.relation]
            x, y = first.x - second.x, first.y - second.y
            assert across * x + down * y > 2 * abs(down * x + across * y)
        if scene.kind == "between":
            middle, left, right = scene.spots
            assert left.x < middle.x < right.x


def test_rewrites_and_near_misses_differ_from_the_caption_and_each_other() -> None:
    for place, scene in enumerate(scenes(500)):
        text = describe(scene, random.Random(place))
        wrong = [false for _, false in text.negatives]
        everything = [text.caption, *text.rewrites, *wrong]
        assert len(set(everything)) == len(everything)
        assert len(wrong) >= 4
        assert len(text.rewrites) == 4


def test_a_scene_shows_its_colours() -> None:
    seen = set()
    for scene in scenes(40):
        shown = np.asarray(Image.open(io.BytesIO(draw_scene(scene, 64)))).astype(int)
        assert shown.shape == (64, 64, 3)
        for spot in scene.spots:
            if spot.thing.shape != "ring":  # through its middle shows the background
                there = shown[int(spot.y * 64), int(spot.x * 64)]
                assert np.abs(there - _PAINT[spot.thing.colour]).max() <= 2
                seen.add(spot.thing.colour)
    assert seen == set(COLOURS)


def test_test_captions_are_unique_and_few_are_shared_in_training(world: Path) -> None:
    texts = [members["txt"] for members in samples(world / "test" / "00000.tar").values()]
    assert len(set(texts)) == len(texts) == 30
    many = [caption_of(scene) for scene in scenes(3000)]
    assert len(set(many)) > 0.97 * len(many)


def test_classification_sets_are_in_the_benchmark_layout(world: Path) -> None:
    trained = {
        hashlib.sha256(members["png"]).digest()
        for members in samples(world / "train" / "00000.tar").values()
    }
    for task, classes in (("colour", 8), ("shape", 8), ("count", 9)):
        root = world / "classification" / task
        names = (root / "classnames.txt").read_text().splitlines()
        templates = (root / "zeroshot_classification_templates.txt").read_text().splitlines()
        assert len(names) == classes
        assert all("{c}" in line for line in templates)
        assert (root / "test" / "nshards.txt").read_text().strip() == "1"
        found = samples(root / "test" / "0.tar")
        assert list(found)[:2] == ["s0000000", "s0000001"]
        labels = [int(members["cls"]) for members in found.values()]
        assert sorted(set(labels)) == list(range(classes))
        assert not trained & {hashlib.sha256(m["png"]).digest() for m in found.values()}


@pytest.mark.parametrize(
    ("task", "label"), [("colour", "blue"), ("shape", "ring"), ("count", "six")]
)
def test_a_labelled_scene_has_its_label(task: str, label: str) -> None:
    for number in range(20):
        scene = make_labelled(0, task, label, number)
        assert label in caption_of(scene).split(" on ")[0].replace("rings", "ring").split()
        assert scene.things[0] == scene.spots[0].thing


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves files open
def test_the_benchmark_sets_are_read_by_webdataset(world: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    shard = str(world / "classification" / "count" / "test" / "0.tar")
    dataset = webdataset.WebDataset(shard, shardshuffle=False, empty_check=False)
    found = list(dataset.decode("pil"))
    assert found[0]["cls"] == 0
    assert found[0]["png"].size == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "1"], "--pairs 1"),
        (["--pairs", "many"], "pairs"),
        (["--pairs", "9", "--image-size", "8"], "--image-size 8: expected 32 to 1024"),
        (["--pairs", "9", "--seed", "-1"], "--seed -1"),
        (["--pairs", "9", "--numbers", "1.5"], "--numbers 1.5: expected a share"),
        (["--pairs", "9", "--kinds", "blob"], "--kinds blob: no kind of scene; choices are single"),
        (["--pairs", "9", "--kinds", "[count, x, y]"], "--kinds x, y: no kind"),
        (["--pairs", "9", "--kinds", "{count: -1}"], "--kinds count: -1.0: expected a weight"),
        (["--pairs", "9", "--kinds", "{count: .inf}"], "--kinds count: inf: expected a weight"),
        (["--pairs", "9", "--kinds", "{count: 0}"], "--kinds: expected a weight above 0"),
    ],
)
def test_bad_options(tmp_path, command, arguments, message) -> None:
    code, _, err = command("shapes", "--output", tmp_path / "out", *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_another_seed_in_the_same_folder_is_refused(world, command) -> None:
    code, _, err = command("shapes", "--output", world, "--pairs", 60, "--seed", 5)
    assert code == 2
    assert "seed was 3, is 5" in err


def test_other_options_in_the_same_folder_are_refused(world, counting, command) -> None:
    code, _, err = command("shapes", "--output", world, "--pairs", 60, "--seed", 3, "--numbers", 0)
    assert code == 2
    assert "numbers was None, is 0.0" in err
    many = ("--output", counting, "--pairs", 80, "--seed", 3, "--numbers", 0.3)
    code, _, err = command("shapes", *many, "--kinds", "{count: 1, pair: 2}")
    assert code == 2
    assert "kinds was {'count': 1.0}, is {'pair': 2.0, 'count': 1.0}" in err
    code, _, _ = command("shapes", *many, "--kinds", "{count: 1, pair: 0}")
    assert code == 0


def test_kinds_are_drawn_by_weight_and_drawn_again_by_the_reader(counting: Path) -> None:
    for split in ("train", "test"):
        for members in samples(counting / split / "00000.tar").values():
            said = fields(members)
            assert said["kind"] == "count"
            place = int(said["url"].rpartition("/")[2])
            assert members["png"] == draw_scene(make_scene(3, split, place, {"count": 1}), 64)
    weights = {"single": 1.0, "pair": 3.0}
    drawn = Counter(make_scene(0, "train", place, weights).kind for place in range(2000))
    assert set(drawn) == {"single", "pair"}
    assert 0.7 < drawn["pair"] / 2000 < 0.8


def test_a_test_split_that_cannot_be_filled_is_an_error(monkeypatch, tmp_path, command) -> None:
    monkeypatch.setattr("data_tools.shapes._MOST_DRAWS", 1)
    options = ("--output", tmp_path / "out", "--pairs", 6000, "--kinds", "single")
    code, _, err = command("shapes", *options)
    assert code == 2
    assert "--kinds single: too few different captions for 600 test scenes" in err
    assert not (tmp_path / "out").exists()


def test_few_training_texts_tell_the_number_and_all_test_texts_do(counting: Path) -> None:
    train = counting / "train" / "00000.tar"
    texts = captions(train)
    told = {key for key, text in texts.items() if text.split()[0] in WORD_VALUES}
    assert 4 <= len(told) <= 20
    assert set(sidecar(train, "counts")) == told
    rewrites, negatives = sidecar(train, "rewrites"), sidecar(train, "negatives")
    for key, text in texts.items():
        assert ("count" in negatives[key]["kinds"]) == (key in told)
        for said in (text, *rewrites[key]["texts"], *negatives[key]["texts"]):
            words = set(said.split())
            assert bool(words & set(WORD_VALUES)) == (key in told)
            assert ("some" in words) == (key not in told)
    test = counting / "test" / "00000.tar"
    assert set(sidecar(test, "counts")) == set(captions(test))


def test_the_share_of_numbers_changes_no_picture(counting: Path, tmp_path: Path) -> None:
    all_told = Shapes(output=tmp_path / "all", pairs=80, seed=3, kinds="count", workers=1)
    shapes(all_told)
    one, two = (samples(root / "train" / "00000.tar") for root in (counting, tmp_path / "all"))
    assert [members["png"] for members in one.values()] == [m["png"] for m in two.values()]
    shares = [0.0, 0.1, 0.4, 1.0]
    told = [
        {place for place in range(2000) if _is_numbered(replace(all_told, numbers=share), place)}
        for share in shares
    ]
    for share, some, more in zip(shares, told, told[1:], strict=False):
        assert abs(len(some) / 2000 - share) < 0.03
        assert some <= more
    assert len(told[-1]) == 2000


def test_a_box_is_where_the_paint_is() -> None:
    for scene in scenes(400):
        if scene.kind != "single":
            continue
        picture = np.asarray(Image.open(io.BytesIO(draw_scene(scene, 128))), np.int16)
        paint = np.array(_PAINT[scene.things[0].colour])
        down, across = np.nonzero(np.abs(picture - paint).max(axis=2) < 40)
        painted = [across.min(), down.min(), across.max() + 1, down.max() + 1]
        found = boxes_of(scene, 128)
        assert found["labels"] == [scene.things[0].shape]
        assert np.abs(np.array(found["boxes"][0]) - painted).max() < 2.5


def test_boxes_tell_the_counts(world: Path) -> None:
    shard = next((world / "test").glob("*.tar"))
    counts, boxes = sidecar(shard, "counts"), sidecar(shard, "boxes")
    assert set(boxes) == set(captions(shard))
    for key, row in counts.items():
        labels = Counter(boxes[key]["labels"])
        assert labels.most_common(1)[0][1] == row["count"]


def test_the_neighbours_sidecar_names_scenes_of_the_training_split(world: Path) -> None:
    shard = world / "train" / "00000.tar"
    kinds = {key: fields(members)["kind"] for key, members in samples(shard).items()}
    rows = sidecar(shard, "neighbours")
    assert sum(len(row["keys"]) == 3 for row in rows.values()) > len(rows) / 2
    for key, row in rows.items():
        assert row["shards"] == ["00000"] * len(row["keys"])
        assert key not in row["keys"]
        assert {kinds[other] for other in row["keys"]} <= {kinds[key]}
