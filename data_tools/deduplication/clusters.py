"""Spherical k-means: groups of embeddings by cosine, so that only within groups all are compared.

Lloyd's algorithm with centroids of unit length, as SemDeDup uses it (Abbas et al. 2023). It is
seeded and the same for any number of workers.
"""

import math

import numpy as np

_ITERATIONS = 20
_PER_CLUSTER = 256  # embeddings for each centroid that suffice to place it
_COMPARED = 10_000  # embeddings of a cluster that are all compared, about
_AT_ONCE = 1 << 14


def default_clusters(count: int) -> int:
    """How many clusters: as few as keep them small, for every cluster loses pairs at its edges.

    Up to 10,000 pictures are one cluster; beyond 10^8, where looking for the nearest of so many
    centroids would take longer than the comparison, there are the square root.
    """
    return max(1, min(math.ceil(count / _COMPARED), math.isqrt(count)))


def sample_size(clusters: int) -> int:
    """Embeddings that the centroids are placed by."""
    return clusters * _PER_CLUSTER


def place_centroids(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Centroids [k, D] of unit vectors [n, D], n at least k."""
    draw = np.random.default_rng([seed, len(vectors), clusters])
    centroids = vectors[np.sort(draw.choice(len(vectors), clusters, replace=False))]
    labels = np.full(len(vectors), -1)
    for _ in range(_ITERATIONS):
        nearest = assign(vectors, centroids)
        if (nearest == labels).all():
            break
        labels = nearest
        centroids = _means(vectors, labels, centroids)
    return centroids


def assign(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The nearest centroid of each vector, [n] int32; the first of equal ones."""
    labels = [
        (vectors[start : start + _AT_ONCE] @ centroids.T).argmax(1)
        for start in range(0, len(vectors), _AT_ONCE)
    ]
    return np.concatenate([*labels, np.zeros(0, np.int64)]).astype(np.int32)


def _means(vectors: np.ndarray, labels: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The direction of each cluster's mean; of an empty cluster the former centroid."""
    order = np.argsort(labels, kind="stable")
    there, starts = np.unique(labels[order], return_index=True)
    sums = np.add.reduceat(vectors[order].astype(np.float64), starts)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    moved = centroids.copy()
    moved[there] = np.where(length > 0, sums / np.maximum(length, 1e-30), centroids[there])
    return moved
