"""An index and its model as one, from Python, from several threads, and beside other processes."""

import gc
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import vlp
from tests.vlp.huggingface_folders import build_folder
from tests.vlp.retrieval.index_states import silent, unit_vectors
from vlp.errors import InputError
from vlp.retrieval.background import Background
from vlp.retrieval.query import Query
from vlp.retrieval.retriever import Retriever
from vlp.retrieval.snapshot import UnknownIdError
from vlp.retrieval.store import Addition, Store


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(build_folder(tmp_path_factory.mktemp("model") / "tiny-clip", "clip"))


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return vlp.load(checkpoint)


@pytest.fixture(scope="module")
def background(encoder):
    return Background(encoder.encode_text([f"thing {n}" for n in range(40)]).numpy())


@pytest.fixture
def retriever(tmp_path, encoder, background):
    return Retriever(make_store(tmp_path / "index", encoder, background), encoder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def make_store(folder, encoder, background, modality="image"):
    from vlp.retrieval.retriever import model_mark

    mark = model_mark(encoder, str(encoder.path))
    return Store.create(
        folder, dim=encoder.width, modality=modality, model=mark, background=background
    )


def ids(found):
    return [hit.id for hit in found.hits]


def test_from_a_checkpoint_and_back_from_its_folder(checkpoint, photos, tmp_path):
    made = vlp.Retriever.from_checkpoint(checkpoint, tmp_path / "index")
    assert (len(made), made.search("a dog").hits) == (0, [])
    added = made.add(photos, [{"number": number} for number in range(6)])
    assert added.tolist() == list(range(6))
    found = made.search("a dog", k=3)
    assert found.hits == vlp.Retriever.load(tmp_path / "index").search("a dog", k=3).hits
    assert found.hits[0].metadata == {
        "number": found.hits[0].id,
        "image_path": str(photos[found.hits[0].id]),
    }
    text, images = made.encoder.encode_text("a dog"), made.encoder.encode_image(photos)
    cosines = (images @ text).numpy()
    assert ids(found) == np.argsort(-cosines)[:3].tolist()
    np.testing.assert_allclose([h.cosine for h in found.hits], -np.sort(-cosines)[:3], atol=1e-3)
    assert all(hit.percentile is not None for hit in found.hits)
    assert made.search(Query(images=[photos[4]], k=1)).hits[0].id == 4
    assert made.search(Query(images=[Image.open(photos[2])], k=1)).hits[0].id == 2
    made.remove([4])
    assert 4 not in ids(made.search("a dog", k=10))
    with pytest.raises(UnknownIdError, match="id 4"):
        made.search(Query(like=[4]))


def test_a_query_adds_up(retriever, encoder, photos):
    retriever.add(photos)
    found = retriever.search(
        Query(texts=["a dog"], images=[photos[0]], like=[3], without=["a cat"], weights=[3, 2, 1])
    )
    dog, cat = encoder.encode_text(["a dog", "a cat"]).numpy()
    picture = encoder.encode_image(photos[0]).numpy()
    stored = retriever.view.snapshot.vectors([3])[0]
    expected = 3 * dog + 2 * picture + stored - 0.5 * 6 * cat
    np.testing.assert_allclose(found.vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_what_is_no_query(retriever):
    with pytest.raises(InputError, match="a text or a Query, got list"):
        retriever.search(["a dog"])


def test_a_folder_that_is_in_use_is_refused_before_the_model_is_loaded(tmp_path, photos):
    with pytest.raises(InputError, match="is not empty"):
        Retriever.from_checkpoint(tmp_path / "gone", photos[0].parent)


def test_a_temporary_index_is_removed_and_can_be_saved(checkpoint, photos, tmp_path):
    with Retriever.from_checkpoint(checkpoint) as made:
        folder = made.store.folder
        made.add(photos[:3])
        made.save(tmp_path / "kept" / "index")
        made.add(photos[3:])
        assert (len(made), folder.exists()) == (6, True)
        with pytest.raises(InputError, match="exists already"):
            made.save(tmp_path / "kept" / "index")
    assert not folder.exists()
    saved = Retriever.load(tmp_path / "kept" / "index")
    assert len(saved) == 3
    assert saved.add(photos[3:4]).tolist() == [3]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["index"]

    forgotten = Retriever.from_checkpoint(checkpoint)
    folder = forgotten.store.folder
    del forgotten
    gc.collect()
    assert not folder.exists()


def test_a_picture_that_cannot_be_read_adds_nothing(retriever, photos, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    for bad, told in ((tmp_path / "text.jpg", r"picture 2 \(.*text\.jpg\)"), ("gone.jpg", "gone")):
        with pytest.raises(InputError, match=told):
            retriever.add([*photos[:2], bad])
    with pytest.raises(TypeError, match="picture 1"):
        retriever.add([photos[0], 5])
    assert len(retriever) == 0


@pytest.mark.parametrize(
    ("images", "metadata", "told"),
    [
        ("one.jpg", None, "several pictures, not one str"),
        (np.zeros((4, 4, 3), np.uint8), None, "not one ndarray"),
        ([np.zeros((4, 4, 3), np.uint8)], [], "1 pictures, but metadata of 0"),
        ([np.zeros((4, 4, 3), np.uint8)] * 2, [{"a": 1}, {"a": "x"}], "'a'.*one type"),
        ([np.zeros((4, 4, 3), np.uint8)], [{"id": 1}], "'id' is the index's own"),
    ],
)
def test_what_cannot_be_added(retriever, images, metadata, told):
    with pytest.raises(InputError, match=told):
        retriever.add(images, metadata)
    assert len(retriever) == 0


def test_any_number_of_pictures_without_paths(retriever):
    assert retriever.add([]).tolist() == []
    array = np.zeros((4, 4, 3), np.uint8)
    assert retriever.add(array for _ in range(3)).tolist() == [0, 1, 2]
    assert retriever.add(np.stack([array, array])).tolist() == [3, 4]
    retriever.add([array], [{"number": 5}])
    metadata = [hit.metadata for hit in retriever.search(Query(like=[0])).hits]
    assert metadata == [{"image_path": None, "number": None}] * 5 + [
        {"image_path": None, "number": 5}
    ]


def test_another_model_is_refused_by_both_names(retriever, photos, tmp_path):
    other = build_folder(tmp_path / "other", "siglip")
    retriever.add(photos)
    with pytest.raises(InputError, match=r"tiny-clip.*fingerprint.*not with .*other.*fingerprint"):
        Retriever.load(retriever.store.folder, other)
    with pytest.raises(InputError, match="not with"):
        Retriever(retriever.store, vlp.load(other))


def test_a_model_that_was_moved_or_is_another_one_now(tmp_path, photos):
    moved = build_folder(tmp_path / "a", "clip")
    made = Retriever.from_checkpoint(moved, tmp_path / "index")
    made.add(photos)
    moved.rename(tmp_path / "b")
    with pytest.raises(InputError, match="cannot be loaded"):
        Retriever.load(tmp_path / "index").search("a dog")
    assert len(Retriever.load(tmp_path / "index").search(Query(like=[0])).hits) == 6
    assert Retriever.load(tmp_path / "index", tmp_path / "b").search("a dog").hits
    build_folder(tmp_path / "a", "siglip")
    with pytest.raises(InputError, match="was made with"):
        Retriever.load(tmp_path / "index").search("a dog")


def test_an_index_of_an_unknown_model(tmp_path, encoder):
    store = Store.create(tmp_path / "i", dim=6, modality="image", model=None, background=None)
    table = pa.table({"number": range(5)})
    store.change(add=[Addition(vectors=unit_vectors(5, dim=6), table=table)], say=silent)
    retriever = Retriever(store)
    assert ids(retriever.search(Query(like=[2], k=1))) == [2]
    with pytest.raises(InputError, match="does not know which model"):
        retriever.search("a dog")
    with pytest.raises(InputError, match=f"6 numbers; .* makes {encoder.width}"):
        Retriever(store, encoder)


def test_an_index_of_texts(tmp_path, encoder, background):
    store = make_store(tmp_path / "index", encoder, background, modality="text")
    retriever = Retriever(store, encoder)
    retriever.add(["a dog", "a cat on a mat", "two dogs"], [{"n": n} for n in range(3)])
    found = retriever.search("a dog", k=1)
    assert found.hits[0].metadata == {"n": 0, "caption": "a dog"}
    assert found.hits[0].percentile == 100
    assert retriever.search(Query(like=[1])).hits[0].percentile == 100
    array = np.zeros((4, 4, 3), np.uint8)
    assert retriever.search(Query(images=[array])).hits[0].percentile is None  # no pictures here
    with pytest.raises(InputError, match="index of texts"):
        retriever.add([array])


def test_long_texts_are_cut_with_a_note(retriever, photos):
    retriever.add(photos)
    found = retriever.search(Query(texts=["a dog"], without=["dog " * 500]))
    length = retriever.encoder.context_length
    assert found.notes == [f"1 of 2 texts cut at {length} tokens"]


def test_changes_by_others_are_seen(retriever, photos):
    retriever.add(photos[:3])
    assert len(retriever.search("a dog").hits) == 3
    before = retriever.view
    assert retriever.view is before
    Retriever.load(retriever.store.folder, None).store.change(remove=[0], say=silent)
    assert retriever.view is not before
    assert sorted(ids(retriever.search("a dog"))) == [1, 2]


def test_a_search_keeps_its_backend_open_until_it_ends(retriever, photos):
    retriever.add(photos[:3])
    closed = []
    with retriever._leased() as view:
        view.backend.close = lambda: closed.append(view)
        retriever.add(photos[3:])
        assert len(retriever.search("a dog").hits) == 6
        assert not closed
    assert closed == [view]
    newest = retriever.view
    newest.backend.close = lambda: closed.append(newest)
    retriever.close()
    assert closed == [view, newest]
    assert len(retriever.search("a dog").hits) == 6


def test_searches_from_threads_while_the_index_changes(retriever, photos):
    retriever.add(photos)
    failed, stop = [], threading.Event()

    def search():
        while not stop.is_set():
            try:
                found = retriever.search(Query(texts=["a dog"], like=[0], group=True))
                assert {0, 1, 2, 3, 4, 5} <= {
                    one for hit in found.hits for one in (hit.id, *hit.duplicates)
                }
            except Exception as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        retriever.remove(retriever.add(photos[:2]))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_folder_that_is_no_index(tmp_path):
    with pytest.raises(InputError, match="is no index"):
        Retriever.load(tmp_path)
    with pytest.raises(InputError, match="is no index"):
        Retriever.load(Path(tmp_path, "gone"))


def test_an_index_that_is_gone_while_it_is_open(retriever, photos):
    import shutil

    retriever.add(photos)
    retriever.search("a dog")
    shutil.rmtree(retriever.store.folder)
    with pytest.raises(InputError, match="is no index"):
        retriever.search("a dog")
