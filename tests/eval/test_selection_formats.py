"""A tiny folder in each published format, and the real ones where they are present."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from eval.datasets import open_dataset
from eval.datasets.selection import IMAGE, TEXT
from tests.eval.written import (
    evaluated,
    told,
    write_csv,
    write_json,
    write_lines,
    write_pictures,
)
from vlp.data.images import UnreadableImageError

DATA = Path(__file__).parents[3] / "shared" / "data"


def sugar_crepe(root):
    entry = {"filename": "1.jpg", "caption": "a cat on a mat", "negative_caption": "a mat on a cat"}
    other = {"filename": "2.jpg", "caption": "a dog", "negative_caption": "a frog"}
    write_json(root / "sugar_crepe" / "swap_obj.json", {"0": entry, "7": other})
    write_json(root / "sugar_crepe" / "add_att.json", {"3": {**other, "negative_caption": "a"}})
    write_pictures(root / "val2017", "1.jpg", "2.jpg")


def test_sugar_crepe(tmp_path):
    sugar_crepe(tmp_path)
    found = open_dataset(tmp_path)
    assert (found.name, found.layout, found.split) == ("sugar_crepe", "sugar_crepe", None)
    assert told(found) == {
        "add_att/3": [(TEXT, "2.jpg", "a dog", "2.jpg", "a", "add_att")],
        "swap_obj/0": [(TEXT, "1.jpg", "a cat on a mat", "1.jpg", "a mat on a cat", "swap_obj")],
        "swap_obj/7": [(TEXT, "2.jpg", "a dog", "2.jpg", "a frog", "swap_obj")],
    }
    record = evaluated(tmp_path)
    assert {"acc_add_att", "acc_swap_obj", "macro_acc", "acc_word_permutation"} < set(
        record["metrics"]
    )
    assert open_dataset(tmp_path, "add_att").selection.names == ["add_att/3"]
    assert evaluated(tmp_path, split="add_att")["split"] == "add_att"
    with pytest.raises(ValueError, match=r"no split 'test'; choices .* are add_att, swap_obj$"):
        open_dataset(tmp_path, "test")


def test_a_missing_picture_is_counted(tmp_path):
    sugar_crepe(tmp_path)
    (tmp_path / "val2017" / "1.jpg").unlink()
    with pytest.raises(UnreadableImageError, match="No such file"):
        open_dataset(tmp_path).item(1)
    record = evaluated(tmp_path)
    assert (record["n"]["items"], record["n"]["left_out"], record["n"]["skipped"]) == (2, 1, 1)


def test_missing_folder_of_pictures(tmp_path):
    sugar_crepe(tmp_path)
    (tmp_path / "val2017").rename(tmp_path / "photos")
    with pytest.raises(FileNotFoundError, match="in images/ or val2017/ or the folder itself"):
        open_dataset(tmp_path)
    write_pictures(tmp_path, "1.jpg", "2.jpg")
    assert open_dataset(tmp_path).places[0].file == str(tmp_path / "2.jpg")


WINOGROUND = {
    "id": 0,
    "image_0": "ex_0_img_0",
    "image_1": "ex_0_img_1",
    "caption_0": "an old person kisses a young person",
    "caption_1": "a young person kisses an old person",
    "tag": "Adjective-Age",
    "secondary_tag": "",
    "num_main_preds": 1,
    "collapsed_tag": "Object",
}


def test_winoground(tmp_path):
    second = WINOGROUND | {"id": 1, "image_0": "ex_1_img_0", "image_1": "ex_1_img_1"}
    write_lines(tmp_path / "data" / "examples.jsonl", [WINOGROUND, second])
    write_pictures(
        tmp_path / "data" / "images", *(f"ex_{n}_img_{k}.png" for n in (0, 1) for k in (0, 1))
    )
    found = open_dataset(tmp_path)
    assert (found.name, len(found)) == ("winoground", 4)
    zero, one = WINOGROUND["caption_0"], WINOGROUND["caption_1"]
    pictures = ("ex_0_img_0.png", "ex_0_img_1.png")
    assert sorted(told(found)["0"]) == sorted(
        [
            (TEXT, pictures[0], zero, pictures[0], one, "Object"),
            (TEXT, pictures[1], one, pictures[1], zero, "Object"),
            (IMAGE, pictures[0], zero, pictures[1], zero, "Object"),
            (IMAGE, pictures[1], one, pictures[0], one, "Object"),
        ]
    )
    record = evaluated(tmp_path)
    assert record["chance"] == {
        "acc": pytest.approx(1 / 6),
        "pair_acc": 0.5,
        "text_acc": pytest.approx(1 / 4),
        "image_acc": pytest.approx(1 / 4),
        "acc_Object": pytest.approx(1 / 6),
    }


def test_eqben(tmp_path):
    entries = [
        {
            "image0": f"{source}/a0.png",
            "image1": f"{source}/a1.{'npy' if source == 'eqbenyoucook2' else 'png'}",
            "caption0": f"one {source}",
            "caption1": f"two {source}",
        }
        for source in ("eqbengebc", "eqbensd", "eqbenyoucook2")
    ]
    write_json(tmp_path / "eqben_subset_10percent_final.json", entries)
    write_pictures(tmp_path / "image_subset", *(e[f"image{k}"] for e in entries for k in (0, 1)))
    (tmp_path / "image_subset" / "eqbenyoucook2" / "a1.npy").write_bytes(b"\x93NUMPY")
    found = open_dataset(tmp_path)
    assert (found.name, len(found), len(found.selection)) == ("eqben", 6, 3)
    assert set(found.selection.kinds) == {"eqbengebc", "eqbensd", "eqbenyoucook2"}
    record = evaluated(tmp_path)
    assert (record["n"]["items"], record["n"]["left_out"]) == (2, 1)
    assert "acc_eqbensd" in record["metrics"]


def test_cola(tmp_path):
    links = [f"https://example.org/vg_gqa_images/{n}.jpg" for n in (5, 6, 7)]
    write_json(
        tmp_path / "data" / "COLA_multiobjects_matching_benchmark.json",
        [[links[0], "red cup", links[1], "blue cup"], [links[1], "a", links[2], "b"]],
    )
    write_pictures(tmp_path / "images", "5.jpg", "6.jpg", "7.jpg")
    found = open_dataset(tmp_path)
    assert (found.name, found.keys) == ("cola", ["5.jpg", "6.jpg", "7.jpg"])
    assert told(found)["COLA_multiobjects_matching_benchmark/0"] == [
        (IMAGE, "5.jpg", "red cup", "6.jpg", "red cup", ""),
        (IMAGE, "6.jpg", "blue cup", "5.jpg", "blue cup", ""),
    ]
    assert evaluated(tmp_path)["chance"]["acc"] == pytest.approx(1 / 4)
    write_json(tmp_path / "data" / "COLA_multiobjects_matching_benchmark.json", [["a", "b", "c"]])
    with pytest.raises(ValueError, match=r"entry 0: expected \[picture, caption, picture"):
        open_dataset(tmp_path)


def test_mmvp_vlm(tmp_path):
    rows = [
        {"Question ID": n, "Type": kind, "Statement": f"statement {n}"}
        for n, kind in enumerate(("Color and Appearance", "Texts"), 1)
        for n in (2 * n - 1, 2 * n)
    ]
    write_csv(tmp_path / "Questions.csv", rows)
    names = (f"{row['Type']}/{row['Question ID']}.jpg" for row in rows)
    write_pictures(tmp_path / "MLLM_VLM Images", *names)
    found = open_dataset(tmp_path)
    assert (found.name, len(found)) == ("mmvp_vlm", 4)
    one, two = "a photo of statement 3", "a photo of statement 4"
    assert told(found)["3-4"] == [
        (IMAGE, "Texts/3.jpg", one, "Texts/4.jpg", one, "Texts"),
        (IMAGE, "Texts/4.jpg", two, "Texts/3.jpg", two, "Texts"),
    ]
    record = evaluated(tmp_path)
    assert set(record["metrics"]) == {
        "acc",
        "pair_acc",
        "macro_acc",
        "acc_Texts",
        "acc_Color_and_Appearance",
    }
    write_csv(tmp_path / "Questions.csv", rows[:3])
    with pytest.raises(ValueError, match="3 rows are no pairs"):
        open_dataset(tmp_path)


def visual_genome(n, **more):
    box = {f"bbox_{side}": value for side, value in zip("xywh", (1, 2, 3 + n % 2, 4), strict=True)}
    captions = {"true_caption": f"a on b {n}", "false_caption": f"b on a {n}"}
    return {"image_path": f"{n // 2}.jpg", **box, **captions, **more}


def test_vg_relation(tmp_path):
    relations = ("on", "to the left of", "near", "on")
    entries = [visual_genome(n, relation_name=name) for n, name in enumerate(relations)]
    write_json(tmp_path / "visual_genome_relation.json", entries)
    write_pictures(tmp_path / "images", "0.jpg", "1.jpg")
    found = open_dataset(tmp_path)
    assert (found.name, len(found)) == ("vg_relation", 4)
    assert found.keys[:2] == ["0.jpg[1,2,3,4]", "0.jpg[1,2,4,4]"]
    assert found.places[1].box == (1, 2, 4, 4)
    assert found.item(1)[1].size == (4, 4)
    # symmetric relations are of no kind, so that the macro average leaves them out
    assert found.selection.kinds == ["on", "to_the_left_of", "", "on"]
    record = evaluated(tmp_path)
    assert "acc_to_the_left_of" in record["metrics"]
    assert record["protocol"]["macro_from"] == 1


def test_vg_attribution(tmp_path):
    entries = [visual_genome(n, attributes=["old", "white"]) for n in range(25)]
    entries += [visual_genome(n, attributes=["red", "dark blue"]) for n in range(25, 49)]
    write_json(tmp_path / "visual_genome_attribution.json", entries)
    write_pictures(tmp_path / "images", *(f"{n}.jpg" for n in range(25)))
    found = open_dataset(tmp_path)
    assert found.name == "vg_attribution"
    assert Counter(found.selection.kinds) == {"old_white": 25, "red_dark_blue": 24}
    assert found.selection.macro_from == 25
    write_json(tmp_path / "visual_genome_relation.json", [visual_genome(0, relation_name="on")])
    with pytest.raises(ValueError, match=r"visual_genome_relation.*which one is said with --split"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, "visual_genome_relation").name == "vg_relation"
    entries[3]["bbox_w"] = "wide"
    write_json(tmp_path / "visual_genome_attribution.json", entries)
    with pytest.raises(ValueError, match="entry 3: expected a number in 'bbox_w', got 'wide'"):
        open_dataset(tmp_path, "visual_genome_attribution")


@pytest.mark.parametrize("form", ["options", "named"])
def test_order_of_words(tmp_path, form):
    texts = ["a b c", "b a c", "a b c", "c b a", "c a b"]
    named = ["correct_caption", *(f"hard_text_{k}" for k in range(1, 5))]
    values = (
        {"caption_options": texts} if form == "options" else dict(zip(named, texts, strict=True))
    )
    write_json(tmp_path / "coco_order.json", [{"image": "val2014/7.jpg", **values}] * 2)
    write_pictures(tmp_path / "val2014", "7.jpg")
    found = open_dataset(tmp_path)
    assert (found.name, found.keys) == ("coco_order", ["val2014/7.jpg"])
    # the perturbation that equals its caption is no choice
    assert [row[4] for row in told(found)["0"]] == ["b a c", "c b a", "c a b"]
    record = evaluated(tmp_path)
    assert record["n"]["identical"] == 2
    assert record["chance"]["acc"] == 1 / 4


def test_valse(tmp_path):
    def entry(votes, **more):
        caption = {"caption": "there are two", "foil": "there are three", "image_file": "v.jpg"}
        about = {"dataset": "coco", "linguistic_phenomena": "counting"}
        return {
            **caption,
            **about,
            "mturk": {"foil": 3 - votes, "caption": votes, "other": 0},
            **more,
        }

    write_json(tmp_path / "counting-hard.json", {"c_0": entry(3), "c_1": entry(1), "c_2": entry(2)})
    write_json(tmp_path / "existence.json", {"e_0": entry(2, dataset="visual7w")})
    write_pictures(tmp_path / "images", "coco/v.jpg", "v.jpg")
    found = open_dataset(tmp_path)
    assert (found.name, found.keys) == ("valse", ["coco/v.jpg", "visual7w/v.jpg"])
    assert found.places[1].file == str(tmp_path / "images" / "v.jpg")
    assert list(told(found)) == ["counting-hard/c_0", "counting-hard/c_2", "existence/e_0"]
    record = evaluated(tmp_path)
    assert record["n"]["left_out"] == 1
    assert {"acc_counting-hard", "acc_existence", "macro_acc"} < set(record["metrics"])
    write_json(tmp_path / "existence.json", {"e_0": entry(2, mturk={"foil": 1})})
    with pytest.raises(ValueError, match=r"existence.json, entry 'e_0', mturk: .*'caption'"):
        open_dataset(tmp_path)


def test_crepe(tmp_path):
    row = {"image_id": 2, "x": 1, "y": 2, "width": 5, "height": 4, "caption": "a red walk"}
    many = [f"a {n} walk" for n in range(5)]
    name = "prod_hard_negatives/swap/prod_vg_hard_negs_swap_complexity_4.csv"
    write_csv(tmp_path / name, [{**row, "hard_negs": str(many)}])
    columns = {"valid_hard_negs_atom": "['a red mat']", "valid_hard_negs_comp": "[]"}
    write_csv(tmp_path / "syst_vg_hard_negs_seen_compounds_in_cc12m.csv", [{**row, **columns}])
    write_pictures(tmp_path / "VG_100K", "2.jpg")
    found = open_dataset(tmp_path)
    assert (found.name, found.keys) == ("crepe", ["2.jpg[1,2,5,4]"])
    assert {name: len(rows) for name, rows in told(found).items()} == {
        "atom_seen_compounds_in_cc12m/0": 1,
        "swap_4/0": 5,
    }
    assert found.selection.left_out == 1  # no negatives of one sort
    record = evaluated(tmp_path)
    assert record["chance"]["acc_swap_4"] == pytest.approx(1 / 6)
    write_csv(tmp_path / name, [{**row, "hard_negs": "__import__('os')"}])
    with pytest.raises(ValueError, match="line 2: expected a list of texts in 'hard_negs'"):
        open_dataset(tmp_path)


def scenes():
    """Of the first sentence two scenes are true and two false; the second is true of all."""
    yield from (("there is a tower", n, n < 2) for n in range(4))
    yield from (("there is a box", n, True) for n in (4, 5))


def test_nlvr_as_published(tmp_path):
    rows = [
        {"sentence": s, "identifier": f"{n}-0", "directory": "3", "label": str(true).lower()}
        for s, n, true in scenes()
    ]
    write_lines(tmp_path / "dev" / "dev.json", rows)
    write_pictures(tmp_path / "dev" / "images" / "3", *(f"dev-{n}-0-0.png" for n in range(6)))
    with pytest.raises(ValueError, match="no split 'test'; choices of --split are dev"):
        open_dataset(tmp_path)
    found = open_dataset(tmp_path, "dev")
    assert (found.name, found.split, len(found)) == ("nlvr", "dev", 4)
    assert [row[:4] for row in told(found)["3/dev-1-0-0.png"]] == [
        (IMAGE, "3/dev-1-0-0.png", "there is a tower", "3/dev-2-0-0.png"),
        (IMAGE, "3/dev-1-0-0.png", "there is a tower", "3/dev-3-0-0.png"),
    ]
    record = evaluated(tmp_path, split="dev")
    assert (record["n"]["items"], record["n"]["left_out"]) == (2, 2)
    assert record["chance"]["acc"] == pytest.approx(1 / 3)
    rows[0]["label"] = "perhaps"
    write_lines(tmp_path / "dev" / "dev.json", rows)
    with pytest.raises(ValueError, match=r"dev.json, line 1: expected true or false in 'label'"):
        open_dataset(tmp_path, "dev")


def test_nlvr_flat(tmp_path):
    rows = [
        {"image": f"images/{n}.png", "sentence": s, "label": true, "split": "test"}
        for s, n, true in scenes()
    ]
    write_lines(tmp_path / "statements.jsonl", [*rows, {**rows[0], "split": "dev"}])
    write_pictures(tmp_path / "images", *(f"{n}.png" for n in range(6)))
    found = open_dataset(tmp_path)
    assert (found.split, list(told(found))) == ("test", ["images/0.png", "images/1.png"])
    assert evaluated(tmp_path)["n"]["images"] == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"0": {"filename": "1.jpg", "negative_caption": "a"', "add_att.json is no JSON"),
        ('{"0": ["filename", "negative_caption"]}', "entry '0': expected an object, got list"),
        ('"filename negative_caption: "', None),
        (
            '{"0": {"filename": "1.jpg", "caption": " ", "negative_caption": "a"}}',
            "add_att.json, entry '0': expected a text in 'caption', got ' '",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    (tmp_path / "add_att.json").write_text(content)
    write_pictures(tmp_path / "images", "1.jpg")
    if message is not None:
        with pytest.raises(ValueError, match=message):
            open_dataset(tmp_path)


@pytest.mark.skipif(not (DATA / "coco_mini").is_dir(), reason="the coco_mini data is not here")
def test_real_sugar_crepe():
    found = open_dataset(DATA / "coco_mini")
    assert (found.name, len(found.selection)) == ("sugar_crepe", 211)
    assert len(set(found.selection.kinds)) == 7
    table = open_dataset(DATA / "coco_mini" / "captions.jsonl", "val2017")
    assert (len(table), set(map(len, table.captions))) == (159, {5})
    record = evaluated(DATA / "coco_mini")
    assert (record["n"]["skipped"], record["n"]["left_out"]) == (0, 0)
    assert record["chance"]["acc"] == 0.5


@pytest.mark.skipif(not (DATA / "nlvr").is_dir(), reason="the nlvr data is not here")
def test_real_nlvr():
    lines = (DATA / "nlvr" / "statements.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    for split, items in (("test", 455), ("dev", 488)):
        found = open_dataset(DATA / "nlvr", split)
        own = [row for row in rows if row["split"] == split]
        false = Counter(row["sentence"] for row in own if not row["label"])
        true = [row["sentence"] for row in own if row["label"]]
        assert len(found.selection) == items == sum(false[sentence] > 0 for sentence in true)
        assert len(found.selection.item) == sum(false[sentence] for sentence in true)
        assert found.selection.left_out == sum(false[sentence] == 0 for sentence in true)
        expected = np.mean([1 / (1 + false[s]) for s in true if false[s]])
        assert set(found.selection.chosen) == {IMAGE}
        if split == "test":
            assert evaluated(DATA / "nlvr")["chance"]["acc"] == pytest.approx(expected)
