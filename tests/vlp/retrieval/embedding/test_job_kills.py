"""Embeddings survive: wherever processes end, the same command ends with the same bytes."""

import random
import signal

import pytest

from tests.vlp.retrieval.embedding.killed_jobs import content, crash, run_ranks
from tests.vlp.retrieval.embedding.pictures_made import folder_of
from vlp.errors import InputError
from vlp.retrieval.embedding.reader import read_embeddings

_MOST = 200  # operations of a job


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Seven pictures in two partitions: one is bad, one a copy, two have captions."""
    folder = folder_of(tmp_path_factory.mktemp("data"), [f"{n}.png" for n in range(5)])
    (folder / "5 copy.png").write_bytes((folder / "1.png").read_bytes())
    (folder / "6.png").write_text("no picture")
    (folder / "2.txt").write_text("a red circle")
    (folder / "4.txt").write_text("two stars")
    return folder


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "out"
    assert run_ranks(data, output, 1) == [0]
    return content(output)


def test_job_is_whole(whole):
    vectors = [f"{kind}_emb/{kind}_emb_{n}.npy" for kind in ("img", "text") for n in (0, 1)]
    tables = [f"metadata/metadata_{n}.parquet" for n in (0, 1)]
    assert whole.keys() == {"embed.json", "report.jsonl", "copies.jsonl", *vectors, *tables}


def test_wherever_a_process_ends(data, whole, tmp_path):
    seen = set()
    for operation in range(1, _MOST):
        output = tmp_path / f"{operation}"
        if not crash(data, output, operation):
            assert content(output) == whole
            break
        is_there = {n: c for n, c in content(output).items() if n[0] != "."} == whole
        if not is_there:
            with pytest.raises(InputError):  # what is there is not taken for all
                read_embeddings(output)
        seen.add(is_there)
        assert not crash(data, output, _MOST)
        assert content(output) == whole
    else:
        pytest.fail("it never ended")
    assert seen == {False, True}
    assert operation > 12


def test_again_and_again(data, whole, tmp_path):
    """Each process gets a little further than the one before it."""
    output, operation = tmp_path / "out", 1
    while crash(data, output, operation):
        operation += 1
        assert operation < _MOST
    assert content(output) == whole


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Pictures for ten partitions, of which one has no good picture."""
    folder = folder_of(tmp_path_factory.mktemp("many"), [f"{n:02d}.png" for n in range(29)])
    (folder / "11.txt").write_text("a red circle")
    (folder / "20 copy.png").write_bytes((folder / "03.png").read_bytes())
    for name in ("06", "07", "08"):
        (folder / f"{name}.png").write_text(name)
    return folder


@pytest.fixture(scope="module")
def whole_many(many, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "out"
    assert run_ranks(many, output, 1) == [0]
    return content(output)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_any_number_of_processes_gives_the_same(many, whole_many, ranks, tmp_path):
    assert run_ranks(many, tmp_path / "out", ranks) == [0] * ranks
    assert content(tmp_path / "out") == whole_many


@pytest.mark.parametrize("seed", range(3))
def test_killed_processes_go_on_to_the_same(many, whole_many, seed, tmp_path):
    rng = random.Random(seed)
    output = tmp_path / "out"
    killed = []
    for ranks in (1, 2, 1):
        killed += run_ranks(many, output, ranks, kill_after=rng.randint(0, 3), pause=0.02)
    assert -signal.SIGKILL in killed
    assert run_ranks(many, output, rng.choice([1, 2])) in ([0], [0, 0])
    assert content(output) == whole_many


def test_partition_without_a_good_picture_has_no_files(whole_many):
    """clip-retrieval pairs files in order and passes over empty ones of vectors only."""
    assert "img_emb/img_emb_02.npy" not in whole_many
    assert "metadata/metadata_02.parquet" not in whole_many
    assert "metadata/metadata_03.parquet" in whole_many
