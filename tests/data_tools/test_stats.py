"""`stats` and `inspect` on small shards, against numbers counted by hand."""

import io
import json

import pytest
from PIL import Image

from data_tools.build import Build, build
from tests.data_tools.conftest import jpeg


@pytest.fixture
def data(tmp_path):
    """Five samples in three shards: two equal pictures, one Greek caption, two captions alike."""
    folder = tmp_path / "in"
    folder.mkdir()
    captions = ["a red car", "a red car", "το κόκκινο αυτοκίνητο", "12 345", "a dog runs"]
    for number, caption in enumerate(captions):
        size = (40, 20) if number == 0 else (24, 16)
        (folder / f"{number}.jpg").write_bytes(jpeg(min(number, 3), size))
        (folder / f"{number}.txt").write_text(caption, encoding="utf-8")
    build(Build(input=folder, output=tmp_path / "data", workers=1, samples_per_shard=2))
    return tmp_path / "data"


def test_numbers_are_those_counted_by_hand(data, command):
    code, out, err = command("stats", data, "--sizes")
    assert (code, err) == (0, "")
    assert "5 samples in 3 shards" in out
    assert "repeated: 1 pictures, 1 captions, 0 keys" in out
    numbers = json.loads((data / "stats.json").read_text())
    assert numbers["formats"] == {"JPEG": 5}
    assert numbers["scripts"] == {"Latin": 3, "Greek": 1, "no letters": 1}
    assert numbers["members"] == {"jpg": 5, "json": 5, "txt": 5}
    assert numbers["measures"]["words"]["mean"] == pytest.approx((3 + 3 + 3 + 2 + 3) / 5)
    assert numbers["measures"]["width"]["max"] == 40
    assert numbers["measures"]["aspect"]["max"] == 2.0
    assert numbers["words"]["top"]["a"] == 3
    assert numbers["words"]["in_one_caption"] == 3 + 2 + 2
    assert numbers["sidecars"]["index"]["rows"] == 5
    assert json.loads((data / "sizes.json").read_text()) == {
        "00000.tar": 2,
        "00001.tar": 2,
        "00002.tar": 1,
    }


def test_the_page_shows_the_samples_and_loads_nothing(data, command, tmp_path):
    command("stats", data, "--html", tmp_path / "page.html", "--pictures", "3")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_a_caption_cannot_put_markup_on_the_page(tmp_path, command):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(1))
    (folder / "a.txt").write_text("<script>alert(1)</script>")
    build(Build(input=folder, output=tmp_path / "data", workers=1))
    command("stats", tmp_path / "data")
    assert "<script" not in (tmp_path / "data" / "stats.html").read_text()


def test_a_sample_is_shown_with_all_that_is_known(data, command, tmp_path):
    code, out, _ = command("inspect", "000010000", data, "--picture", tmp_path / "p.jpg")
    assert code == 0
    assert "00001.tar, row 0" in out
    assert "txt: το κόκκινο αυτοκίνητο" in out
    assert "JPEG, 24 x 16 pixels" in out
    assert Image.open(io.BytesIO((tmp_path / "p.jpg").read_bytes())).size == (24, 16)
    code, out, _ = command("inspect", "000010000", data, "--json")
    assert json.loads(out)["table"]["status"] == "success"


def test_a_key_that_no_shard_has_is_told(data, command):
    code, _, err = command("inspect", "7", data)
    assert code == 2
    assert "no sample of 3 shards has this key; those of 00000.tar go from 000000000" in err


def test_parts_describe_their_shards_alone(data, command, tmp_path):
    _, out, _ = command("stats", data, "--part", "2/3", "--output", tmp_path / "s.json")
    assert "2 samples in 1 shards" in out
    assert "stats-2-of-3.json" in command("stats", data, "--part", "2/3")[1]
    code, _, err = command("stats", data, "--part", "4/4", "--output", tmp_path / "s.json")
    assert code == 2
    assert "fewer shards than parts" in err


def test_sizes_of_other_shards_stay(data, command, tmp_path):
    output = ("--output", tmp_path / "s.json")
    command("stats", data, "--sizes", *output)
    whole = json.loads((data / "sizes.json").read_text())
    assert len(whole) == 3
    (data / "00002.tar").unlink()
    assert command("stats", data / "00001.tar", "--sizes", *output)[0] == 0
    assert json.loads((data / "sizes.json").read_text()) == {
        name: size for name, size in whole.items() if name != "00002.tar"
    }
    code, _, err = command("stats", data, "--sizes", "--part", "1/2", *output)
    assert code == 2
    assert "--sizes: needs all shards" in err


def test_damage_is_told_and_never_a_traceback(data, command, tmp_path):
    for shard in data.glob("*.tar"):
        shard.write_bytes(bytes(20480))
    code, _, err = command("stats", data, "--output", tmp_path / "s.json")
    assert code == 1
    assert "3 of 3 failed" in err
    assert not (tmp_path / "s.json").exists()


def test_unreadable_files_beside_a_shard_are_told(data, command):
    (data / "00001.parquet").write_bytes(b"damaged")
    (data / "annotations" / "scores").mkdir()
    (data / "annotations" / "scores" / "00001.parquet").write_bytes(b"damaged")
    code, out, _ = command("inspect", "000010000", data)
    assert code == 0
    assert "unreadable: Parquet" in out
    assert "scores: unreadable (" in out


def test_what_a_sample_holds_does_not_steer_the_terminal(tmp_path, command):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(1))
    (folder / "a.txt").write_text("red \x1b[31m and \x9b5m")
    build(Build(input=folder, output=tmp_path / "data", workers=1))
    _, out, _ = command("inspect", "000000000", tmp_path / "data")
    assert "\\x1b[31m" in out
    assert not {"\x1b", "\x9b"} & set(out)
