"""clip-retrieval's own reader takes what we write."""

import numpy as np
import pytest

from tests.vlp.retrieval.embedding.killed_jobs import run_ranks
from tests.vlp.retrieval.embedding.pictures_made import folder_of

reader = pytest.importorskip("embedding_reader")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Eleven partitions, of which one has no good picture."""
    folder = folder_of(tmp_path_factory.mktemp("data"), [f"{n:02d}.png" for n in range(31)])
    for name in ("06", "07", "08"):
        (folder / f"{name}.png").write_text(name)
    (folder / "12.txt").write_text("a red circle")
    output = tmp_path_factory.mktemp("out") / "out"
    assert run_ranks(folder, output, 1) == [0]
    return output


@pytest.mark.filterwarnings("ignore")
def test_vectors_alone(output):
    own = reader.EmbeddingReader(embeddings_folder=f"{output}/img_emb", file_format="npy")
    assert (own.count, own.dimension) == (28, 16)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["img_emb", "text_emb"])
def test_vectors_with_their_rows(output, kind):
    own = reader.EmbeddingReader(
        embeddings_folder=f"{output}/{kind}",
        metadata_folder=f"{output}/metadata",
        meta_columns=["image_path", "caption"],
        file_format="parquet_npy",
    )
    vectors, rows = next(iter(own(batch_size=100, show_progress=False)))
    names = [path.rpartition("/")[2] for path in rows["image_path"]]
    assert names == [f"{n:02d}.png" for n in range(31) if n not in (6, 7, 8)]
    lengths = np.linalg.norm(vectors, axis=1)
    captioned = rows["caption"].notna()
    np.testing.assert_allclose(lengths, 1 if kind == "img_emb" else captioned, atol=2e-3)
