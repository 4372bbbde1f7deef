"""What requests and responses look like; the description of the API is made from these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vlp.retrieval.query import MOST_RESULTS
from vlp.serve.bounds import (
    LARGEST_ID,
    LEAST_SIDE,
    MOST_CHARACTERS,
    MOST_CONDITION,
    MOST_HITS,
    MOST_INLINE,
    MOST_NUMBERS,
    MOST_PARTS,
    MOST_SIDE,
    SIDE,
)

Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
Id = Annotated[int, Field(ge=0, le=LARGEST_ID)]
Texts = Annotated[tuple[Text, ...], Field(max_length=MOST_PARTS)]
Pictures = Annotated[tuple[Base64, ...], Field(max_length=MOST_PARTS)]
Ids = Annotated[tuple[Id, ...], Field(max_length=MOST_PARTS)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Vector = Annotated[tuple[Number, ...], Field(max_length=MOST_NUMBERS)]
Weight = Annotated[float, Field(ge=1e-3, le=1e3)]
Weights = Annotated[tuple[Weight, ...], Field(max_length=3 * MOST_PARTS)]


class Request(BaseModel):
    """Fields that are not there are errors, and so are texts where numbers belong."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class SearchRequest(Request):
    """A search. Its texts, images and ids add up to one direction; one of them is needed."""

    index: str | None = Field(None, description="default the first")
    texts: Texts = Field((), description="what to see")
    images: Pictures = Field((), description="pictures like these: files in base64")
    like: Ids = Field((), description="pictures like these: ids of the index")
    without: Texts = Field((), description="what is not to be seen")
    weights: Weights = Field((), description="of texts, images and ids, in this order; default 1")
    where: Annotated[str, Field(max_length=MOST_CONDITION)] | None = Field(
        None, description="condition on the metadata, e.g. split = 'val' AND width > 500"
    )
    k: int = Field(20, ge=1, le=MOST_HITS, description="how many results")
    offset: int = Field(0, ge=0, le=MOST_RESULTS, description="results that are left out")
    threshold: float | None = Field(None, ge=-1, le=1, description="the least cosine")
    least_percentile: float | None = Field(None, ge=0, le=100)
    hubness: bool = Field(False, description="mark down what is near to every query")
    group: bool = Field(False, description="show near-duplicates as one")


class PictureRequest(Request):
    """A picture of an index."""

    index: str
    id: Id
    side: int = Field(SIDE, ge=LEAST_SIDE, le=MOST_SIDE, description="most pixels of a side")


class KnnRequest(Request):
    """A search as clip-retrieval's clients ask for it, by exactly one of the first three fields.

    The first `num_images` results have metadata, and the first 500 of these a picture. The server
    fetches no addresses, so `image_url` is refused; `use_mclip` is, too. It has neither
    safety models nor aesthetic embeddings; the response's header `X-Vlp-Ignored` names those that
    were asked for.
    """

    text: Text | None = None
    image: Base64 | None = Field(None, description="a file in base64")
    embedding_input: Vector | None = None
    image_url: str | None = None
    modality: Literal["image", "text"] | None = Field(None, description="default the index's")
    num_images: int = Field(100, ge=0, le=MOST_RESULTS, description="results with metadata")
    num_result_ids: int | None = Field(
        None, ge=1, le=MOST_RESULTS, description="all results; default num_images"
    )
    indice_name: str | None = Field(None, description="default the first")
    deduplicate: bool = Field(False, description="of near-duplicates only the best")
    use_safety_model: bool = False
    use_violence_detector: bool = False
    use_mclip: bool = False
    aesthetic_score: int | str | None = None
    aesthetic_weight: float | str | None = None


class MetadataRequest(Request):
    """Metadata as clip-retrieval's clients ask for it."""

    ids: Annotated[tuple[Id, ...], Field(max_length=MOST_INLINE)]
    indice_name: str | None = Field(None, description="default the first")


class Answer(BaseModel):
    """Metadata may hold what JSON does not know."""

    model_config = ConfigDict(ser_json_bytes="base64", ser_json_inf_nan="null")


class ErrorResponse(Answer):
    """Why there is no answer, in one sentence."""

    error: str


class HitResponse(Answer):
    """A picture that was found."""

    id: int
    cosine: float
    percentile: float | None
    score: float
    metadata: dict[str, Any]
    duplicates: list[int]


class SearchResponse(Answer):
    """Hits, best first."""

    hits: list[HitResponse]
    searched: int = Field(description="pictures that the condition lets through")
    more: bool = Field(description="whether a next page would have hits")
    notes: list[str] = Field(description="what people should know")
    seconds: float


class ColumnResponse(Answer):
    """A column of the metadata."""

    name: str
    type: str = Field(description="as Arrow calls it")
    values: list[Any] | None = Field(description="all that there are, where they are few")


class ModelResponse(Answer):
    """The model whose space an index lives in."""

    name: str
    source: str
    fingerprint: str


class IndexResponse(Answer):
    """An index that is served."""

    name: str
    rows: int
    modality: Literal["image", "text"]
    model: ModelResponse | None
    backend: str
    columns: list[ColumnResponse]
    background: bool = Field(description="whether hits have percentiles")


class LimitsResponse(Answer):
    """What the server accepts; per_minute is 0 where it is not limited."""

    upload_bytes: int
    pixels: int
    k: int
    per_minute: int


class AboutResponse(Answer):
    """What may be searched."""

    indices: list[IndexResponse]
    limits: LimitsResponse


class KnnHitResponse(Answer):
    """A result; the first num_images have their metadata as fields, and `image`, a JPEG in base64,
    where the file is still there."""

    model_config = ConfigDict(extra="allow")

    id: int
    similarity: float


class MetadataResponse(Answer):
    """The metadata of an id, with `image`, a JPEG in base64, where the file is still there."""

    id: int
    metadata: dict[str, Any]
