"""The search for near pictures finds what comparing all pairs finds."""

import io

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_tools.deduplication.clusters import assign, default_clusters, place_centroids
from data_tools.deduplication.cosine import KeptEmbeddings
from data_tools.deduplication.greedy import equal_ones, greedy
from data_tools.deduplication.hamming import KeptHashes, count_bits
from data_tools.deduplication.perceptual_hash import perceptual_hash
from data_tools.deduplication.search import hash_duplicates, near_hashes
from tests.data_tools.conftest import jpeg

words = st.integers(0, 2**64 - 1)


def one_by_one(count, is_near):
    """The definition: in order, each goes to the first of those that stay and are near."""
    keepers = []
    for i in range(count):
        near = [j for j in range(i) if keepers[j] < 0 and is_near(i, j)]
        keepers.append(near[0] if near else -1)
    return keepers


@st.composite
def near_hash_lists(draw):
    """Hashes around a few centres, so that many are near one another."""
    centres = draw(st.lists(words, min_size=1, max_size=3))
    flips = st.lists(st.integers(0, 63), max_size=7)
    chosen = draw(st.lists(st.tuples(st.sampled_from(centres), flips), max_size=40))
    hashes = []
    for centre, bits in chosen:
        for bit in bits:
            centre ^= 1 << bit
        hashes.append(centre)
    return hashes


@given(near_hash_lists(), st.integers(0, 12), st.sampled_from([1, 3, 1024]))
@settings(max_examples=150, deadline=None)
def test_hashes_stay_and_go_as_all_pairs_say(hashes, limit, block):
    values = np.array(hashes, np.uint64)
    distance = [[(a ^ b).bit_count() for b in hashes] for a in hashes]
    expected = one_by_one(len(hashes), lambda i, j: distance[i][j] <= limit)
    found, bits = hash_duplicates(values[:, None], limit)
    assert found.tolist() == expected
    assert [bits[i] for i in np.flatnonzero(found >= 0)] == [
        distance[i][j] for i, j in enumerate(expected) if j >= 0
    ]
    if limit:
        assert greedy(values, KeptHashes(limit), block)[0].tolist() == expected


@given(near_hash_lists(), near_hash_lists(), st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_the_first_near_reference_is_found(hashes, references, limit):
    values, known = (np.array(h, np.uint64).reshape(-1, 1) for h in (hashes, references))
    expected = [
        next((j for j, r in enumerate(references) if (h ^ r).bit_count() <= limit), -1)
        for h in hashes
    ]
    assert near_hashes(values, known, limit)[0].tolist() == expected


def test_many_hashes_in_many_runs():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2**63, 700, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (2, 2600)).astype(np.uint64)
    values = centres[rng.integers(0, 700, 2600)] ^ flips[0] ^ flips[1]
    found, _ = greedy(values, KeptHashes(3), block=100)
    distance = count_bits(values[:, None] ^ values[None])
    stays = found < 0
    kept = np.flatnonzero(stays)
    among = distance[np.ix_(kept, kept)]
    assert (among[~np.eye(len(kept), dtype=bool)] > 3).all()
    gone = np.flatnonzero(~stays)
    assert stays[found[gone]].all()
    assert (distance[gone, found[gone]] <= 3).all()
    assert (found[gone] < gone).all()


@given(st.integers(0, 10**6), st.floats(0.0, 0.5), st.sampled_from([1, 4, 1024]))
@settings(max_examples=60, deadline=None)
def test_embeddings_stay_and_go_as_all_pairs_say(seed, epsilon, block):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(4, 6))[rng.integers(0, 4, 30)] + 0.3 * rng.normal(size=(30, 6))
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    cosine = values.astype(float) @ values.T.astype(float)
    if np.abs(cosine - (1 - epsilon)).min() < 1e-6:
        return  # on the edge the last bit decides
    expected = one_by_one(30, lambda i, j: cosine[i, j] > 1 - epsilon)
    assert greedy(values, KeptEmbeddings(epsilon, 6), block)[0].tolist() == expected
    nearest = [
        next((j for j in range(10) if cosine[i, j] > 1 - epsilon), -1) for i in range(10, 30)
    ]
    kept = KeptEmbeddings(epsilon, 6)
    for part in (slice(0, 3), slice(3, 10)):
        kept.add(np.arange(10)[part], values[part])
    assert kept.first(values[10:])[0].tolist() == nearest


def test_a_chain_is_not_dragged_along():
    """0 - 1 - 2 with one bit each: 2 is two bits from 0, and stays though 1 goes."""
    assert hash_duplicates(np.array([[0], [1], [3]], np.uint64), 1)[0].tolist() == [-1, 0, -1]


@given(st.lists(words, max_size=20))
def test_bits_are_counted(values):
    counted = count_bits(np.array(values, np.uint64))
    assert counted.tolist() == [value.bit_count() for value in values]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
def test_the_first_equal_row(rows):
    found = equal_ones(np.array(rows, np.uint64))
    assert found.tolist() == [rows.index(row) for row in rows]


def test_the_hash_is_that_of_its_formula():
    """Zauner 2010: DCT-II of 32 x 32 luma, coefficients 1 to 8 both ways, above their median."""
    picture = Image.open(io.BytesIO(jpeg(3, (90, 60)))).convert("L")
    luma = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR), float)
    low = scipy.fft.dctn(luma, norm="ortho")[1:9, 1:9]
    bits = "".join("01"[int(value > np.median(low))] for value in low.ravel())
    assert perceptual_hash(jpeg(3, (90, 60))) == int(bits, 2)


def test_a_flat_picture_has_no_bits():
    for colour in ("white", "black", "red"):
        buffer = io.BytesIO()
        Image.new("RGB", (50, 30), colour).save(buffer, "PNG")
        assert perceptual_hash(buffer.getvalue()) == 0


def smooth(seed):
    """A picture with large shapes, as photographs have."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    return noise.resize((320, 240), Image.Resampling.BICUBIC)


def encoded(picture, *how, **options):
    buffer = io.BytesIO()
    picture.save(buffer, *how, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("seed", range(5))
def test_encoding_and_size_change_few_bits_and_another_picture_many(seed):
    picture = smooth(seed)
    original = perceptual_hash(encoded(picture, "PNG"))
    for other in (
        encoded(picture, "JPEG", quality=40),
        encoded(picture, "WEBP", quality=50),
        encoded(picture.resize((160, 120), Image.Resampling.LANCZOS), "PNG"),
        encoded(picture.resize((200, 200), Image.Resampling.BICUBIC), "JPEG"),
        encoded(picture.convert("L"), "PNG"),
    ):
        assert (original ^ perceptual_hash(other)).bit_count() <= 4
    another = perceptual_hash(encoded(smooth(seed + 100), "PNG"))
    assert (original ^ another).bit_count() > 12


def test_each_vector_is_in_the_cluster_of_its_nearest_centroid():
    rng = np.random.default_rng(0)
    centres = np.eye(8, dtype=np.float32)
    own = np.repeat(np.arange(8), 50)
    values = centres[own] + 0.05 * rng.normal(size=(400, 8)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    for seed in range(3):
        centroids = place_centroids(values, 8, seed)
        assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
        labels = assign(values, centroids)
        assert (assign(values, place_centroids(values, 8, seed)) == labels).all()
        within = (values * centroids[labels]).sum(1)
        assert (within >= (values @ centroids.T).max(1) - 1e-6).all()


def test_k_means_does_not_get_worse_by_its_steps():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(500, 12)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    centroids = place_centroids(values, 10, 0)
    start = values[np.sort(np.random.default_rng([0, 500, 10]).choice(500, 10, replace=False))]
    assert (values @ centroids.T).max(1).mean() > (values @ start.T).max(1).mean()


@pytest.mark.parametrize(
    ("count", "clusters"),
    [(0, 1), (1, 1), (10_000, 1), (10_001, 2), (10**6, 100), (10**8, 10**4), (10**9, 31_622)],
)
def test_clusters_grow_with_the_samples(count, clusters):
    assert default_clusters(count) == clusters
