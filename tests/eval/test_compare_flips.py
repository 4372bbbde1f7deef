"""What flipped between two models: which samples, by what they show."""

import numpy as np

from eval.comparison.compare import compare
from eval.comparison.flips import find_flips
from tests.eval.grey import CountEncoder, write_counts, write_negatives
from tests.eval.test_compare import Confused, compared, keep
from tests.eval.test_report import Page
from vlp.metrics.outcomes import Linear, Ratio, clustered, combined, mean_of


def test_what_flipped_in_classification(tmp_path, encoder, class_folders, capsys):
    for model in (encoder, Confused()):
        keep(tmp_path, model, "zeroshot_classification", class_folders)
    a, b = (f"{tmp_path}:{m.fingerprint[:12]}" for m in (encoder, Confused()))
    found = compared(a, b, flips=3)
    (pair,) = found.pairs
    wrong = {"red": "green", "green": "red", "yellow": "white", "white": "yellow"}
    # white and yellow have the text of white both: a tie is wrong for both
    assert (pair.flips.a_better, pair.flips.b_better) == (3 * len(wrong), 0)
    assert pair.rows[0].discordant == 12
    assert len(pair.flips.shown) == 3
    for flip in pair.flips.shown:
        assert flip.a == flip.truth
        assert flip.b.startswith(wrong[flip.truth])
        assert "(the right one at " in flip.b
    output = tmp_path / "c.html"
    assert compare(a, b, flips=3, output=str(output)) == 0
    text = output.read_text()
    page = Page(text)
    assert sum(load.startswith("data:image/jpeg") for load in page.loads) == 3
    assert all(load.startswith("data:image/") for load in page.loads)
    assert "1,000 paired resamples, seed 0" in page.text
    assert "nan" not in text.lower().replace("provenance", "")
    assert "A better on 12 samples, B on 0" in capsys.readouterr().out


def test_what_flipped_in_retrieval_and_counting(tmp_path, encoder, own_shards, counted):
    for model in (encoder, Confused()):
        keep(tmp_path, model, "retrieval", own_shards, model=model.fingerprint[:4])
    (pair,) = compared(f"{tmp_path}:0123", f"{tmp_path}:fedc").pairs
    flip = next(flip for flip in pair.flips.shown if flip.truth == "it is red")
    assert flip.a.startswith("own caption at 1, picture at 1, 1")
    assert "first “it is green”" in flip.b
    assert pair.rows[0].metric == "mean_recall@1"
    assert pair.rows[0].difference.test == "bootstrap"

    class Off(CountEncoder):
        fingerprint = "9" * 64

        def encode_image(self, images):
            return self.on_circle(images.float().mean((1, 2, 3)) / 10 + 1)

    write_counts(counted)
    for model, name in ((CountEncoder(), "one"), (Off(), "two")):
        keep(tmp_path / "n", model, "counting", counted, model=name)
    (pair,) = compared(f"{tmp_path}/n:one", f"{tmp_path}/n:two").pairs
    by_truth = {flip.truth: flip for flip in pair.flips.shown}
    assert by_truth["two"].b.startswith("three (the right one at ")
    assert by_truth["two"].a == "two"


def test_what_flipped_in_a_choice(tmp_path, counted):
    class Off(CountEncoder):
        fingerprint = "9" * 64

        def encode_image(self, images):
            return self.on_circle(images.float().mean((1, 2, 3)) / 10 * 0 + 4)

    write_negatives(counted)
    for model, name in ((CountEncoder(), "one"), (Off(), "two")):
        keep(tmp_path, model, "image_caption_selection", counted, model=name)
    found = compared(f"{tmp_path}:one", f"{tmp_path}:two")
    flips = found.pairs[0].flips
    assert flips.a_better > 0
    assert flips.b_better == 0
    nine = next(flip for flip in flips.shown if flip.truth == "nine dogs")
    assert nine.a.startswith("right, by ")
    assert nine.b.startswith("“four ")
    assert nine.pictures == ["000000004"]


def saved_of(keys, **arrays):
    return {"key": np.array(keys), **arrays}


def test_flips_are_of_hits_alone():
    saved = saved_of(["x", "y"])
    scores = mean_of(np.array([0.25, 0.5]))
    assert find_flips((saved, saved), (scores, scores), 5).shown == []
    one = Ratio(np.array([2.0, 0.0, 1.0]), np.array([2.0, 1.0, 1.0]))
    assert find_flips((saved, saved), (one, one), 5).shown == []  # of other units than the samples


def test_units_with_several_parts():
    saved = saved_of(["x", "y", "z"])
    owner = np.array([0, 0, 1, 2])
    one = clustered(np.array([1, 1, 0, 1]), owner, 3)
    other = clustered(np.array([1, 0, 0, 1]), owner, 3)
    flat = mean_of(np.array([0, 1, 1]))
    both = [combined([0.5, 0.5], [outcome, flat]) for outcome in (one, other)]
    assert isinstance(both[0], Linear)
    flips = find_flips((saved, saved), (both[0], both[1]), 5)
    assert [(flip.key, flip.better) for flip in flips.shown] == [("x", "A")]
