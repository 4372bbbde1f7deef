"""Models of the Hugging Face Hub: configuration, tokenizer and one kind of weights, and no code.

Of several kinds safetensors are taken. A pickle is downloaded where there is nothing else, and read
as one in a folder is: by `torch.load(weights_only=True)`.
"""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vlp.errors import InputError
from vlp.published import CAPTIONER_FILE
from vlp.published import CONFIG_FILE as OPEN_CLIP_CONFIG
from vlp.published import PICKLED_FILE as OPEN_CLIP_PICKLED
from vlp.published import WEIGHTS_FILE as OPEN_CLIP_WEIGHTS

PREFIX = "hf-hub:"
_SMALL = ("*.json", "*.txt", "*.model")  # configurations, and tokenizers of every kind
_OPEN_CLIP = (OPEN_CLIP_WEIGHTS, CAPTIONER_FILE)
_TRANSFORMERS_CONFIG = "config.json"
_TRANSFORMERS = ("model.safetensors", "model-*.safetensors")
_TRANSFORMERS_PICKLED = "pytorch_model.bin"


def download(source: str) -> Path:
    """The folder of a repository in the Hub's cache, completed where files are missing.

    Args:
        source: `hf-hub:ORG/NAME`, or with a branch, tag or commit `hf-hub:ORG/NAME@REVISION`.

    Raises:
        InputError: there is no such repository or revision, it needs a login, it has no weights, or
            the Hub cannot be reached and the cache lacks files.
    """
    repository, _, revision = source.removeprefix(PREFIX).partition("@")
    folder = _snapshot(source, repository, revision, _SMALL)
    theirs = (folder / _TRANSFORMERS_CONFIG).is_file()
    kinds = [_TRANSFORMERS, (_TRANSFORMERS_PICKLED if theirs else OPEN_CLIP_PICKLED,)]
    if (folder / OPEN_CLIP_CONFIG).is_file():
        kinds.insert(0, _OPEN_CLIP)
    for weights in kinds:
        folder = _snapshot(source, repository, revision, (*_SMALL, *weights))
        if any(next(folder.glob(name), None) for name in weights):
            return folder
    raise InputError(
        f"{source} has no weights: neither {OPEN_CLIP_WEIGHTS} nor {_TRANSFORMERS[0]}, and no "
        f"{kinds[-1][0]}"
    )


def _snapshot(source: str, repository: str, revision: str, patterns: tuple[str, ...]) -> Path:
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns))
        )
    except HFValidationError:
        raise InputError(
            f"{source}: expected {PREFIX}ORG/NAME or {PREFIX}ORG/NAME@REVISION"
        ) from None
    except GatedRepoError as error:
        raise InputError(
            f"{source} is gated: ask for access on its page, then log in (hf auth login)"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{source}: the Hub has no such repository, or it is private: log in (hf auth login)"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"{source}: the repository has no revision {revision!r}") from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{source} is not in the Hub's cache, or not all of it, and the Hub cannot be reached "
            f"(no network, or HF_HUB_OFFLINE is set): download it elsewhere with "
            f"`hf download {repository}` and give the folder"
        ) from error
