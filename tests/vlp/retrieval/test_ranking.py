"""What a search shows, against loops over all rows, and that pages join to one list."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vlp.retrieval.backend_contract import clustered, queries, silent
from vlp.errors import InputError
from vlp.retrieval import ranking
from vlp.retrieval.backends.exact import search_exactly
from vlp.retrieval.background import Background
from vlp.retrieval.query import Query
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.store import Addition, Store

DIM, ROWS = 16, 240
ASKED = queries(1, DIM, 5)[0]


def made_store(folder, rows=ROWS, background=True):
    """Clustered rows, of which a third are near-duplicates of others; every tenth is removed."""
    vectors = clustered(rows, DIM, 1).astype(np.float32)
    third = rows // 3
    vectors[:third] = vectors[third : 2 * third] + 0.01 * clustered(third, DIM, 2)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    texts = Background(queries(50, DIM, 9)) if background else None
    store = Store.create(folder, dim=DIM, modality="image", model=None, background=texts)
    table = pa.table({"number": np.arange(rows), "even": np.arange(rows) % 2 == 0})
    store.change(add=[Addition(vectors=vectors, table=table)], say=silent)
    store.change(remove=range(0, rows, 10), say=silent)
    return store


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    return Retriever(made_store(tmp_path_factory.mktemp("ranking") / "index"))


@pytest.fixture(scope="module")
def small_tiers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_TIERS", (7, 30, 10_001))
        patch.setattr(ranking, "RERANKED", 25)
        patch.setattr(ranking, "_LEADERS", 5)
        yield


def live(retriever):
    """(ids, vectors in float64) of all rows that can be found."""
    snapshot = retriever.view.snapshot
    rows = np.flatnonzero(snapshot.live)
    return snapshot.ids[rows].tolist(), snapshot.vectors(rows).astype(np.float64)


def ids(found):
    return [hit.id for hit in found.hits]


def test_the_nearest_first_with_their_metadata(retriever):
    own, vectors = live(retriever)
    cosines = vectors @ ASKED
    order = np.argsort(-cosines)[:20]
    found = retriever.search(Query(vectors=[3 * ASKED]))
    assert ids(found) == [own[place] for place in order]
    np.testing.assert_allclose([hit.cosine for hit in found.hits], cosines[order], atol=1e-6)
    assert all(hit.score == hit.cosine and hit.percentile is None for hit in found.hits)
    assert found.hits[0].metadata == {
        "number": found.hits[0].id,
        "even": found.hits[0].id % 2 == 0,
    }
    assert (found.searched, found.more) == (len(own), True)


def test_threshold_and_condition(retriever):
    own, vectors = live(retriever)
    cosines = dict(zip(own, vectors @ ASKED, strict=True))
    expected = {one for one, cosine in cosines.items() if cosine >= 0.2 and one % 2 == 0}
    found = retriever.search(Query(vectors=[ASKED], threshold=0.2, where="even", k=200))
    assert set(ids(found)) == expected != set()
    assert (found.searched, found.more) == (sum(one % 2 == 0 for one in own), False)


def test_percentiles_of_pictures_by_their_formula(retriever):
    """Of the other pictures, so many are nearer to a hit than the query is not."""
    own, vectors = live(retriever)
    asked = own[7]
    found = retriever.search(Query(like=[asked], k=30))
    assert [hit.percentile for hit in found.hits if hit.id == asked] == [100]
    for hit in found.hits:
        here = vectors[own.index(hit.id)]
        others = [
            v @ here for one, v in zip(own, vectors, strict=True) if one not in (asked, hit.id)
        ]
        lower = np.mean([cosine < vectors[7] @ here - 1e-6 for cosine in others])
        assert hit.percentile == pytest.approx(100 * lower, abs=0.51)  # one of them may be as near


def test_percentiles_with_negatives_and_texts_by_their_formula(retriever):
    from vlp.retrieval.directions import Direction, Part
    from vlp.retrieval.ranking import Ranking

    view = retriever.view
    negatives = queries(2, DIM, 6)
    asked = Direction([Part(ASKED, 2.0, "text")], negatives)
    found = Ranking(view, Query(vectors=[ASKED], k=30), asked, view.snapshot.live).found([])
    subtracted = 0.5 * 2 * negatives.mean(axis=0)
    generic = 2 * view.background.texts - subtracted
    generic /= np.linalg.norm(generic, axis=1, keepdims=True)
    unit = 2 * ASKED - subtracted
    unit /= np.linalg.norm(unit)
    for hit in found.hits:
        here = view.snapshot.vectors(view.snapshot.rows_of([hit.id]))[0]
        assert hit.cosine == pytest.approx(unit @ here, abs=1e-6)
        assert hit.percentile == pytest.approx(
            100 * np.mean(generic @ here < unit @ here), abs=2.01
        )


def test_cosines_are_at_most_1(tmp_path):
    store = Store.create(tmp_path / "i", dim=4, modality="image", model=None, background=None)
    vectors = np.float16([[1.001, 0, 0, 0], [-1.001, 0, 0, 0]])
    store.change(add=[Addition(vectors=vectors, table=pa.table({"n": [0, 1]}))], say=silent)
    hits = Retriever(store).search(Query(vectors=[[1, 0, 0, 0]], threshold=-1)).hits
    assert [(hit.cosine, hit.score) for hit in hits] == [(1, 1), (-1, -1)]


def test_only_ratios_of_weights_matter(retriever):
    def found(*weights):
        return retriever.search(Query(like=[7, 8], weights=weights)).vector

    for factor in (1e-300, 1e-50, 1e39, 1e300):
        np.testing.assert_allclose(found(factor, 2 * factor), found(1, 2), atol=1e-6)


def test_vectors_of_any_length_are_directions(retriever):
    for length in (1e-100, 1e30, 1e150):
        found = retriever.search(Query(vectors=[length * ASKED.astype(np.float64)]))
        np.testing.assert_allclose(found.vector, ASKED, atol=1e-6)


def test_percentiles_have_two_digits(retriever):
    for hit in retriever.search(Query(like=[7], k=200)).hits:
        assert hit.percentile == round(hit.percentile, 2)


def test_least_percentile(retriever):
    everything = retriever.search(Query(like=[7, 8], k=200)).hits
    kept = retriever.search(Query(like=[7, 8], k=200, least_percentile=90.0)).hits
    assert kept == [hit for hit in everything if hit.percentile >= 90]
    assert 0 < len(kept) < len(everything)


def test_hubness_of_texts_and_pictures_by_its_formula(retriever):
    from vlp.retrieval.directions import Direction, Part
    from vlp.retrieval.ranking import Ranking

    view = retriever.view
    own, vectors = live(retriever)
    texts = np.sort(vectors @ view.background.texts.T, axis=1)[:, -10:].mean(axis=1)
    scores = 2 * vectors @ ASKED - texts
    asked = Direction([Part(ASKED, 1.0, "text")], np.empty((0, DIM), np.float32))
    query = Query(vectors=[ASKED], k=50, hubness=True)
    found = Ranking(view, query, asked, view.snapshot.live).found([])
    assert ids(found) == [own[place] for place in np.argsort(-scores, kind="stable")[:50]]

    pictures = vectors @ vectors.T
    np.fill_diagonal(pictures, -1)
    asked_row = own.index(7)
    pictures[:, asked_row] = -1  # the query itself is no other query
    scores = 2 * vectors @ vectors[asked_row] - np.sort(pictures, axis=1)[:, -10:].mean(axis=1)
    found = retriever.search(Query(like=[7], k=50, hubness=True))
    np.testing.assert_allclose([h.score for h in found.hits], -np.sort(-scores)[:50], atol=5e-4)


def test_what_has_nothing_to_compare_with_is_refused(tmp_path, retriever):
    for option in ({"hubness": True}, {"least_percentile": 50.0}):
        with pytest.raises(InputError, match=next(iter(option))):
            retriever.search(Query(vectors=[ASKED], **option))
    alone = Retriever(made_store(tmp_path / "index", rows=2, background=False))
    (hit,) = alone.search(Query(like=[1])).hits
    assert (hit.id, hit.percentile) == (1, None)


@pytest.mark.parametrize(
    ("tiers", "leaders"), [((10_001,), 256), ((10_001,), 7), ((20, 90, 10_001), 7)]
)
def test_groups_as_a_loop_makes_them(retriever, monkeypatch, tiers, leaders):
    """In order, each row joins the first shown row that it is like."""
    monkeypatch.setattr(ranking, "_TIERS", tiers)
    monkeypatch.setattr(ranking, "_LEADERS", leaders)
    own, vectors = live(retriever)
    vectors = dict(zip(own, vectors, strict=True))
    order = ids(retriever.search(Query(vectors=[ASKED], k=230)))
    groups = {}
    for one in order:
        leader = next((o for o in groups if vectors[o] @ vectors[one] >= ranking.DUPLICATE), None)
        groups.setdefault(leader if leader is not None else one, []).append(one)
    found = retriever.search(Query(vectors=[ASKED], k=230, group=True))
    assert [(hit.id, *hit.duplicates) for hit in found.hits] == [
        (leader, *members[1:]) for leader, members in groups.items()
    ]
    assert any(hit.duplicates for hit in found.hits)


OPTIONS = st.fixed_dictionaries(
    {
        "hubness": st.booleans(),
        "group": st.booleans(),
        "threshold": st.sampled_from([None, 0.0, 0.5]),
        "least_percentile": st.sampled_from([None, 50.0, 99.0]),
        "where": st.sampled_from([None, "even", "number < 20", "number < 0"]),
    }
)


class Unsteady:
    """A backend that misses some rows, other ones for another k, as approximate search does."""

    def __init__(self, snapshot):
        self.snapshot = snapshot

    def search(self, asked, k, allowed):
        missed = np.random.default_rng(k).random(len(allowed)) < 0.2
        return search_exactly(self.snapshot, asked, k, allowed & ~missed)


@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.usefixtures("small_tiers")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(options=OPTIONS, sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_pages_join_to_one_list(retriever, steady, options, sizes):
    view = retriever.view
    exact = view.backend
    view.backend = exact if steady else Unsteady(view.snapshot)
    try:
        query = {"like": [11], **options}
        pages, offset, more = [], 0, True
        for size in sizes:
            found = retriever.search(Query(**query, k=size, offset=offset))
            assert more or not found.hits
            assert len(found.hits) == size or not found.more
            pages += [(hit.id, hit.score) for hit in found.hits]
            offset, more = offset + size, found.more
        whole = retriever.search(Query(**query, k=offset))
    finally:
        view.backend = exact
    assert pages == [(hit.id, hit.score) for hit in whole.hits]
    assert len({one for one, _ in pages}) == len(pages)
    assert whole.more == more
    shown = [one for hit in whole.hits for one in (hit.id, *hit.duplicates)]
    assert len(set(shown)) == len(shown)


def test_nothing_is_beyond_the_last_page(tmp_path):
    store = Store.create(tmp_path / "i", dim=DIM, modality="image", model=None, background=None)
    vectors = clustered(10_050, DIM, 3)
    table = pa.table({"number": np.arange(len(vectors))})
    store.change(add=[Addition(vectors=vectors, table=table)], say=silent)
    retriever = Retriever(store)
    last = retriever.search(Query(vectors=[ASKED], k=100, offset=9_900))
    assert (len(last.hits), last.more) == (100, False)
    before = retriever.search(Query(vectors=[ASKED], k=10, offset=9_980))
    assert before.more
    assert ids(before) == ids(last)[80:90]


def test_an_empty_index(tmp_path):
    store = Store.create(tmp_path / "i", dim=DIM, modality="image", model=None, background=None)
    found = Retriever(store).search(Query(vectors=[ASKED], group=True, threshold=0.5))
    assert (found.hits, found.searched, found.more) == ([], 0, False)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "empty"),
        ({"texts": [" "]}, "empty text"),
        ({"texts": "a dog"}, "texts is a list"),
        ({"images": "q.jpg"}, "images is a list"),
        ({"like": 5}, "like is a list"),
        ({"like": [2**63]}, "like: 9223372036854775808 is no id"),
        ({"like": [1.5]}, "is no id"),
        ({"like": ["1"]}, "is no id"),
        ({"like": [-1]}, "is no id"),
        ({"texts": ["a"], "without": "b"}, "without is a list"),
        ({"without": ["b"]}, "empty"),
        ({"texts": ["a"], "weights": [1, 2]}, "2 weights for 1"),
        ({"texts": ["a"], "weights": [-1]}, "more than 0"),
        ({"texts": ["a"], "weights": [float("nan")]}, "more than 0"),
        ({"texts": ["a"], "k": 0}, "k must be"),
        ({"texts": ["a"], "k": 10, "offset": 9_991}, "at most 10000"),
        ({"texts": ["a"], "offset": -1}, "offset 0 or more"),
        ({"texts": ["a"], "threshold": 2.0}, "threshold 2.0"),
        ({"texts": ["a"], "least_percentile": 101.0}, "0 to 100"),
        ({"texts": [None]}, "none"),
    ],
)
def test_queries_that_make_no_sense(fields, told):
    with pytest.raises(InputError, match=told):
        Query(**fields)


@pytest.mark.parametrize("vector", [np.ones(5), np.zeros(DIM), np.full(DIM, np.nan), "abc", [[1]]])
def test_vectors_that_do_not_fit(retriever, vector):
    with pytest.raises(InputError, match=f"{DIM} finite numbers"):
        retriever.search(Query(vectors=[vector]))
