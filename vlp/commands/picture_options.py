"""Options of the commands that read data and embed pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported late: it takes seconds
    from vlp.retrieval.embedding.embed import EmbedOptions
    from vlp.retrieval.embedding.items import DataOptions


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How pictures are embedded.

    Args:
        device: for the model; default the GPU if there is one.
        batch_size: pictures in one pass; default 64 on a CPU, 256 on a GPU.
        workers: threads that decode; default a thread a core, at most 8.
    """

    device: str | None = None
    batch_size: int | None = None
    workers: int | None = None

    def embed_options(self, *, texts: bool) -> "EmbedOptions":
        """The same for the work itself.

        Raises:
            InputError: a number below 1.
        """
        from vlp.retrieval.embedding.embed import EmbedOptions

        return EmbedOptions(batch_size=self.batch_size, workers=self.workers, texts=texts)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How data are read.

    Args:
        image_column: of a table, with paths or the pictures' bytes; found by its name without.
        caption_column: of a table, a text or a list of texts; found by its name without.
        images: folder where a table's relative paths start; default the table's own.
    """

    image_column: str | None = None
    caption_column: str | None = None
    images: str | None = None

    def data_options(self) -> "DataOptions":
        """The same for the work itself, and for later, in whichever folder that is."""
        from vlp.retrieval.embedding.items import DataOptions

        images = None if self.images is None else str(Path(self.images).expanduser().absolute())
        return DataOptions(
            image_column=self.image_column, caption_column=self.caption_column, images=images
        )
