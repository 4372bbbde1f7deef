"""Flickr8k's ratings by people."""

from pathlib import Path

import pytest

from eval.datasets import open_dataset
from tests.eval.conftest import picture

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "flickr8k" / "judgements"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "judgements"
    root.mkdir()
    (tmp_path / "images").mkdir()
    rows = ["image\tsplit\tcaption"]
    for name in ("a", "b"):
        (tmp_path / "images" / f"{name}.jpg").write_bytes(picture((9, 9, 9), 0, "JPEG"))
        rows += [f"images/{name}.jpg\ttest\tcaption {k} of {name}" for k in range(2)]
    (tmp_path / "captions.tsv").write_text("\n".join(rows) + "\n")
    expert = ["a.jpg\tb.jpg#1\t1\t2\t4", "b.jpg\ta.jpg#0\t3\t3\t3", "a.jpg\ta.jpg#0\t4\t4\t4"]
    (root / "ExpertAnnotations.txt").write_text("\n".join(expert) + "\n")
    (root / "CrowdFlowerAnnotations.txt").write_text("a.jpg\ta.jpg#1\t0.75\t3\t1\n")
    return root


def test_experts_without_pairs_of_a_picture_with_its_own_caption(folder):
    judged = open_dataset(folder).judgements
    assert judged.ratings.tolist() == [[1, 2, 4], [3, 3, 3]]
    assert [judged.texts[i] for i in judged.text] == ["caption 1 of b", "caption 0 of a"]
    assert (judged.image.tolist(), judged.variant) == ([0, 1], "c")


def test_the_crowd_by_its_share_of_yes(folder):
    found = open_dataset(folder, "crowd")
    assert found.keys == ["a.jpg"]
    assert found.judgements.ratings.tolist() == [[0.75]]
    assert found.judgements.variant == "b"


def test_mistakes_are_named(folder):
    with pytest.raises(ValueError, match="split 'test': choices are expert, crowd"):
        open_dataset(folder, "test")
    file = folder / "ExpertAnnotations.txt"
    file.write_text("a.jpg\tb.jpg#7\t1\t2\t3\n")
    with pytest.raises(ValueError, match=r"line 1: there is no caption 'b\.jpg#7'"):
        open_dataset(folder)
    file.write_text("a.jpg\tb.jpg#1\t1\n")
    with pytest.raises(ValueError, match="line 1: expected a picture, a caption and three numbers"):
        open_dataset(folder)


@pytest.mark.skipif(not REAL.is_dir(), reason="the flickr8k data is not here")
def test_the_real_files_have_the_counts_of_the_paper():
    assert len(open_dataset(REAL, "expert").judgements.ratings) == 5664
    assert len(open_dataset(REAL, "crowd").judgements.ratings) == 47830
