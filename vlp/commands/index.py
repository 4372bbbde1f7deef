"""`vlp index`: make an index, add to it, remove from it, follow data that change."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlp.commands.picture_options import Embedding, Reading
from vlp.errors import InputError
from vlp.terminal import printable

if TYPE_CHECKING:
    from vlp.retrieval.embedding.reader import EmbeddingsFolder
    from vlp.retrieval.indexing import Updated
    from vlp.retrieval.retriever import Retriever
    from vlp.retrieval.store import Store

_SHOWN = 5  # problems that are printed one by one
_OF_DATA = ("image_column", "caption_column", "images", "batch_size", "workers")


@dataclass(frozen=True, kw_only=True)
class Index(Reading, Embedding):
    """Make an index from embeddings or straight from pictures, or give one another backend.

    Args:
        data: embeddings of `vlp embed` or clip-retrieval; pictures, as `vlp embed` takes them, with
            --model and --output; or an index, which is built afresh with this backend.
        model: checkpoint that embeds the pictures, or that made foreign embeddings.
        output: folder of the index; for embeddings default DATA/index.
        backend: exact, faiss (approximate) or milvus (a file or a server).
        of: of embeddings, whether pictures or captions are to be found.
        factory: of faiss, its factory string; chosen by size without.
        recall: of faiss, the recall@10 that the search is tuned to.
        server: of milvus, its address; without one a file in the index.
        precision: of the model; default fp32.
    """

    data: str = field(metadata={"positional": True})
    model: str | None = None
    output: Path | None = None
    backend: Literal["exact", "faiss", "milvus"] = "exact"
    of: Literal["image", "text"] = "image"
    factory: str | None = None
    recall: float | None = None
    server: str | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None


@dataclass(frozen=True, kw_only=True)
class IndexAdd(Reading, Embedding):
    """Add pictures or embeddings to an index; pictures that have changed are embedded again.

    Args:
        index: its folder.
        data: pictures, as `vlp embed` takes them, or embeddings.
        model: where the index's model is now, if it was moved.
    """

    index: Path = field(metadata={"positional": True})
    data: str = field(metadata={"positional": True})
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class IndexRemove:
    """Remove pictures from an index; the pictures themselves stay where they are.

    Args:
        index: its folder.
        ids: ids of the index.
        where: a condition on the metadata, e.g. "image_path LIKE '/old/%'".
    """

    index: Path = field(metadata={"positional": True})
    ids: tuple[str, ...] = ()
    where: str | None = None


@dataclass(frozen=True, kw_only=True)
class IndexRefresh(Embedding):
    """Look through the data of an index: embed what is new or changed, remove what is gone.

    Args:
        index: its folder.
        model: where the index's model is now, if it was moved.
    """

    index: Path = field(metadata={"positional": True})
    model: str | None = None


def index(given: Index) -> None:
    """Make an index."""
    from vlp.retrieval.backends import backend_class
    from vlp.retrieval.embedding.reader import is_embeddings, read_embeddings
    from vlp.retrieval.manifest import MANIFEST_FILE

    told = {"factory": given.factory, "recall": given.recall, "server": given.server}
    options = {name: value for name, value in told.items() if value is not None}
    backend_class(given.backend).check(options)  # before hours of embedding
    _check_alone()
    folder = Path(given.data).expanduser()
    if (folder / MANIFEST_FILE).is_file():
        _rebuild(given, folder, options)
    elif is_embeddings(folder):
        _index_embeddings(given, read_embeddings(folder, given.of), options)
    else:
        _index_pictures(given, options)


def index_add(given: IndexAdd) -> None:
    """Add to an index."""
    from vlp.retrieval.embedding.reader import is_embeddings, read_embeddings
    from vlp.retrieval.followed_data import Listing
    from vlp.retrieval.from_embeddings import add_embeddings
    from vlp.retrieval.indexing import add_pictures
    from vlp.retrieval.retriever import Retriever

    _check_alone()
    if is_embeddings(Path(given.data).expanduser()):
        _refuse(given, _OF_DATA, f"{given.data} holds embeddings")
    retriever = Retriever.load(given.index, given.model, device=given.device)
    if is_embeddings(Path(given.data).expanduser()):
        folder = read_embeddings(given.data, retriever.manifest.modality)
        done = add_embeddings(retriever.store, folder)
    else:
        listing = Listing(given.data, given.data_options())
        done = add_pictures(retriever, listing, how=given.embed_options(texts=False))
    _report(retriever, done)


def index_remove(given: IndexRemove) -> None:
    """Remove from an index."""
    from vlp.retrieval.conditions import rows_where
    from vlp.retrieval.indexing import remove_rows
    from vlp.retrieval.store import Store

    _check_alone()
    if bool(given.ids) == bool(given.where):
        raise InputError("either --ids or --where says what to remove")
    store = Store(given.index.expanduser())
    try:
        ids = [int(text) for text in given.ids]
    except ValueError as error:
        raise InputError(f"--ids: {error}") from None
    if given.where is not None:
        snapshot = store.snapshot()
        ids = snapshot.ids[rows_where(snapshot, given.where)].tolist()
    if ids:
        remove_rows(store, ids)
    manifest = store.snapshot().manifest
    what = "picture" if manifest.modality == "image" else manifest.modality
    print(f"removed {_counted(len(set(ids)), what)}: {manifest.live_rows:,} left in {given.index}")


def index_refresh(given: IndexRefresh) -> None:
    """Follow data that change."""
    from vlp.retrieval.indexing import refresh
    from vlp.retrieval.retriever import Retriever

    _check_alone()
    retriever = Retriever.load(given.index, given.model, device=given.device)
    _report(retriever, refresh(retriever, given.embed_options(texts=False)))


def _rebuild(given: Index, folder: Path, options: dict[str, Any]) -> None:
    from vlp.retrieval.store import Store

    names = ("model", "output", "of", "precision", "device", *_OF_DATA)
    _refuse(given, names, f"{folder} is an index already, and gets another backend")
    store = Store(folder)
    store.rebuild(given.backend, options)
    print(f"{folder}: {store.snapshot().manifest.live_rows:,} rows, backend {given.backend}")


def _index_embeddings(given: Index, folder: "EmbeddingsFolder", options: dict[str, Any]) -> None:
    """All of it under a temporary name: the index is there wholly or not at all."""
    from vlp.export.output import write_folder
    from vlp.retrieval.from_embeddings import add_embeddings
    from vlp.retrieval.retriever import Retriever
    from vlp.retrieval.store import Store

    _refuse(given, _OF_DATA, f"{given.data} holds embeddings")
    output = (given.output or folder.folder / "index").expanduser()
    if output.exists():
        raise InputError(
            f"{output} exists already; `vlp index add` adds to an index, and "
            "`vlp index INDEX --backend` gives it another backend"
        )

    def fill(building: Path) -> None:
        add_embeddings(_new_store(given, folder, building), folder)

    write_folder(output, fill)
    if given.backend != "exact":  # a server knows the index by its place
        Store(output).rebuild(given.backend, options)
    retriever = Retriever.load(output)
    print(
        f"{output}: {len(retriever):,} {retriever.manifest.modality}s of {retriever.manifest.dim} "
        f"numbers, backend {given.backend}, model {retriever.manifest.model or 'unknown'}"
    )


def _new_store(given: Index, folder: "EmbeddingsFolder", output: Path) -> "Store":
    """An empty index for embeddings; their model is loaded for what hits are compared with.

    Raises:
        InputError: the model cannot be loaded, or the embeddings are not of it.
    """
    from vlp.loading import load
    from vlp.retrieval.background import make_background
    from vlp.retrieval.manifest import ModelMark
    from vlp.retrieval.retriever import model_mark
    from vlp.retrieval.store import Store

    mark = ModelMark(**folder.model) if folder.model else None
    source = given.model or (mark.source if mark else None)
    if source is None:
        print(
            f"{folder.folder} does not say which model made it: without --model there are no "
            "queries by text or picture and no percentiles"
        )
        return Store.create(
            output, dim=folder.dim, modality=folder.modality, model=None, background=None
        )
    encoder = load(source, device=given.device, precision=given.precision)
    actual = model_mark(encoder, source)
    if mark is not None and mark.fingerprint != actual.fingerprint:
        raise InputError(f"{folder.folder} was made with {mark}, not with {actual}")
    background = make_background(encoder.encode_text)
    if background.texts.shape[1] != folder.dim:
        raise InputError(
            f"{folder.folder} holds vectors of {folder.dim} numbers, but {actual} gives "
            f"{background.texts.shape[1]}"
        )
    return Store.create(
        output, dim=folder.dim, modality=folder.modality, model=actual, background=background
    )


def _index_pictures(given: Index, options: dict[str, Any]) -> None:
    from vlp.loading import load
    from vlp.retrieval.followed_data import Listing
    from vlp.retrieval.indexing import add_pictures
    from vlp.retrieval.manifest import MANIFEST_FILE
    from vlp.retrieval.retriever import Retriever
    from vlp.retrieval.store import Store

    if given.model is None or given.output is None:
        raise InputError(
            f"{given.data} holds no embeddings: to index pictures, --model says what embeds them "
            "and --output where the index goes"
        )
    if given.of != "image":
        raise InputError("--of text: captions are found in embeddings, which `vlp embed` makes")
    how, listing = given.embed_options(texts=False), Listing(given.data, given.data_options())
    output = given.output.expanduser()
    if (output / MANIFEST_FILE).is_file():  # of a run that was killed, perhaps
        encoder = load(given.model, device=given.device, precision=given.precision)
        retriever = Retriever(Store(output), encoder)
        print(f"{output} is there with {len(retriever):,} pictures: going on")
    else:
        _ = listing.items  # before a model is loaded: perhaps there are none
        retriever = Retriever.from_checkpoint(
            given.model, output, device=given.device, precision=given.precision
        )
    done = add_pictures(retriever, listing, how=how)
    if retriever.manifest.backend.name != given.backend or options:
        retriever.build(given.backend, **options)
    _report(retriever, done)


def _report(retriever: "Retriever", done: "Updated") -> None:
    """What became of every picture."""
    changed = f" ({done.changed:,} had changed)" if done.changed else ""
    facts = {
        f"{done.added:,} added{changed}": True,
        f"{done.removed:,} removed": done.removed,
        f"{done.kept:,} as before": done.kept,
        f"{done.waiting:,} left out as before": done.waiting,
        f"{_counted(done.copies, 'copy', 'copies')} of a picture that is there": done.copies,
        f"{len(done.problems):,} could not be read": done.problems,
    }
    print(", ".join(fact for fact, told in facts.items() if told))
    for path, problem in done.problems[:_SHOWN]:
        print(f"  not indexed: {printable(path)}: {printable(problem)}")
    if len(done.problems) > _SHOWN:
        kinds = Counter(problem.partition(":")[0] for _, problem in done.problems[_SHOWN:])
        more = ", ".join(f"{printable(kind)} ({n})" for kind, n in kinds.most_common())
        print(f"  and {len(done.problems) - _SHOWN:,} more: {more}")
    mark = retriever.manifest.backend.name
    print(f"{retriever.store.folder}: {len(retriever):,} pictures, backend {mark}")


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _check_alone() -> None:
    """Raise InputError under a launcher: each of its processes would do the same work."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "`vlp index` is one process: let a launcher share `vlp embed` among several, and "
            "index what that wrote"
        )


def _refuse(given: Reading, names: Sequence[str], why: str) -> None:
    """Raise InputError for options that would do nothing."""
    defaults = {field.name: field.default for field in fields(given)}
    for name in names:
        if getattr(given, name) != defaults[name]:
            raise InputError(f"--{name.replace('_', '-')} does nothing here: {why}")
