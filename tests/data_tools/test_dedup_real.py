"""Real photographs and captions, where the development data is present."""

import io
from pathlib import Path

import pytest
from PIL import Image

from data_tools.annotate import read_sidecar
from data_tools.build import Build, build
from data_tools.eval_captions import evaluation_captions
from tests.data_tools.test_real_data import DATA, excerpt
from tests.data_tools.trees import samples


@pytest.mark.skipif(not (DATA / "flickr8k").is_dir(), reason="the flickr8k data is not here")
def test_photos_that_were_encoded_again_are_found_and_no_others(tmp_path: Path, command) -> None:
    table = excerpt(DATA / "flickr8k" / "captions.tsv", tmp_path / "t.tsv", 397)
    build(Build(input=table, output=tmp_path / "out", workers=1))
    (tmp_path / "eval").mkdir()
    photos = samples(tmp_path / "out" / "00000.tar")
    leaked = set(list(photos)[::5])
    for key in leaked:
        with Image.open(io.BytesIO(photos[key]["jpg"])) as photo:
            smaller = photo.resize((photo.width // 2, photo.height // 2))
            smaller.save(tmp_path / "eval" / f"{key}.jpg", quality=60)
    arguments = ["--by", "phash", "--against", tmp_path / "eval", "--workers", 1]
    assert command("dedup", tmp_path / "out", *arguments)[0] == 0
    rows = read_sidecar(tmp_path / "out" / "00000.tar", "keep-dedup").to_pylist()
    assert len(rows) > 80
    found = {row["key"]: Path(row["value"]).stem for row in rows if not row["keep"]}
    assert found == {key: key for key in leaked}


@pytest.mark.skipif(not (DATA / "metadata").is_dir(), reason="CountBench's captions are not here")
def test_captions_of_countbench_are_read() -> None:
    assert (
        530
        < len(evaluation_captions((str(DATA / "metadata" / "CountBench.json"),), "--captions"))
        <= 540
    )
