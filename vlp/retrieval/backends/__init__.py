"""The backends by name; what a backend needs is imported when it is asked for."""

from vlp.errors import InputError
from vlp.retrieval.backends.base import Backend

NAMES = ("exact", "faiss", "milvus")


def backend_class(name: str) -> type[Backend]:
    """The backend of a name.

    Raises:
        InputError: there is none.
    """
    if name == "exact":
        from vlp.retrieval.backends.exact import ExactBackend

        return ExactBackend
    if name == "faiss":
        from vlp.retrieval.backends.faiss import FaissBackend

        return FaissBackend
    if name == "milvus":
        from vlp.retrieval.backends.milvus import MilvusBackend

        return MilvusBackend
    raise InputError(f"backend {name!r}: choices are {', '.join(NAMES)}")
