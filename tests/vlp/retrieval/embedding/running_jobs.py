"""What the processes of `killed_jobs` are forked from: the libraries and a model are loaded."""

import json
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import torch
from accelerate import PartialState

from tests.conftest import TINY
from tests.vlp.retrieval.embedding.killed_jobs import PARTITION
from tests.vlp.retrieval.embedding.pictures_made import quiet
from vlp.__main__ import main
from vlp.encoder import Encoder
from vlp.model.build import ModelConfig, build_model
from vlp.model.tokens import build_tokenizer
from vlp.retrieval import from_embeddings, indexing
from vlp.retrieval.embedding import decoding
from vlp.retrieval.embedding.embed import EmbedOptions
from vlp.retrieval.embedding.items import DataOptions
from vlp.retrieval.embedding.job import Job, run
from vlp.retrieval.embedding.sources import open_data
from vlp.retrieval.manifest import ModelMark


def _encoder():
    torch.manual_seed(3)
    with tempfile.TemporaryDirectory() as folder:
        arch = Path(folder, "tiny.json")
        arch.write_text(json.dumps(TINY))
        model = build_model(ModelConfig(arch=str(arch)))
    return Encoder(model, build_tokenizer(model.description.model_cfg))


ENCODER = _encoder()
pa.array([""])  # imports pandas where that is installed, and takes its time

assert from_embeddings  # loaded for the commands


def run_command(arguments):
    """A command of `vlp`, which commits every two pictures; its exit status."""
    indexing._AT_ONCE = 2
    sys.argv = ["vlp", *map(str, arguments)]
    return main()


def run_job(data, output, pause=0.0):
    """Embed data; under the variables of a launcher as one of several processes."""
    if "RANK" in os.environ:
        PartialState(cpu=True, timeout=timedelta(seconds=60))
    original = decoding.read_picture

    def slow(path):
        time.sleep(pause)
        return original(path)

    decoding.read_picture = slow
    job = Job(
        folder=output,
        data=str(data),
        read=DataOptions(),
        items=open_data(str(data), DataOptions(), quiet),
        encoder=ENCODER,
        model=ModelMark(source="tiny", fingerprint=ENCODER.fingerprint, name="tiny"),
        options=EmbedOptions(batch_size=2, workers=2),
        partition=PARTITION,
    )
    return run(job, quiet)
