"""Tars of other writers as input: how members form samples, and what is refused."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.build import Build, build
from data_tools.building.collection import Collection, Columns
from data_tools.building.inputs import read_input
from tests.data_tools.conftest import jpeg
from tests.data_tools.trees import fields, files, rows, samples
from vlp.errors import InputError

TEMPLATES = ("a photo of a {c}.",)


def make_tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def read(place: object, **columns: str) -> Collection:
    return read_input(str(place), Columns(**columns), TEMPLATES)


def captions(place: object, **columns: str) -> dict[str, tuple[str, ...]]:
    """{source: captions} of an input without splits."""
    return {picture.source: picture.captions for picture in read(place, **columns).splits[""]}


def statuses(place: object) -> dict[str, str]:
    return {picture.source: picture.status for picture in read(place).splits[""]}


def test_samples_get_our_keys_and_keep_theirs(tmp_path: Path) -> None:
    told = json.dumps({"captions": ["one", "two"], "caption": "one", "width": 9, "lang": "en"})
    make_tar(
        tmp_path / "in.tar",
        ("x/seven.txt", b"one\nand on"),
        ("x/seven.JPG", jpeg(7)),
        ("x/eight.jpg", jpeg(8)),
        ("x/eight.json", told.encode()),
    )
    build(Build(input=tmp_path / "in.tar", output=tmp_path / "out", workers=1))
    found = samples(tmp_path / "out" / "00000.tar")
    assert [members["jpg"] for members in found.values()] == [jpeg(7), jpeg(8)]
    assert found["000000000"]["txt"] == b"one\nand on"  # one caption, as WebDataset has it
    first, second = map(fields, found.values())
    assert (first["source_key"], first["url"]) == ("x/seven", "in.tar/x/seven.JPG")
    assert second["captions"] == ["one", "two"]
    assert (second["width"], second["source_width"], second["lang"]) == (24, 9, "en")


@given(order=st.permutations(["jpg", "txt", "json"] * 3), data=st.data())
@settings(max_examples=25, deadline=None)
def test_members_of_a_sample_may_lie_anywhere(tmp_path_factory, order, data) -> None:
    keys = {extension: data.draw(st.permutations("abc")) for extension in ("jpg", "txt", "json")}
    taken = {extension: iter(of) for extension, of in keys.items()}
    members = []
    for extension in order:
        key = next(taken[extension])
        content = {"jpg": b"", "txt": f"of {key}".encode(), "json": b'{"is": "%s"}' % key.encode()}
        members.append((f"{key}.{extension}", content[extension]))
    path = make_tar(tmp_path_factory.mktemp("tar") / "in.tar", *members)
    found = read(path).splits[""]
    assert {picture.source: picture.captions for picture in found} == {
        f"in.tar/{key}.jpg": (f"of {key}",) for key in "abc"
    }
    assert all(
        dict(picture.extra) == {"key": k, "is": k} for picture in found for k in picture.source[7]
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_webdataset_groups_is_grouped_alike(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    path = make_tar(
        tmp_path / "in.tar",
        *[("b/2.txt", b"two"), ("b/2.seg.png", b""), ("b/2.jpg", b"")],
        *[("./b/1.png", b""), ("./b/1.json", b"{}"), ("./b/1.txt", b"one")],
        *[("0.webp", b""), ("0.txt", b"zero")],
    )
    theirs = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
    expected = [(sample["__key__"].removeprefix("./"), sample["txt"].decode()) for sample in theirs]
    found = read(path).splits[""]
    assert [(picture.extra["key"], picture.captions[0]) for picture in found] == expected


def test_a_key_that_comes_back_is_another_sample(tmp_path: Path) -> None:
    path = make_tar(
        tmp_path / "in.tar",
        *[("a.jpg", jpeg(0)), ("a.txt", b"one"), ("b.jpg", jpeg(1)), ("b.txt", b"two")],
        *[("a.jpg", jpeg(2)), ("a.txt", b"three")],
    )
    build(Build(input=path, output=tmp_path / "out", workers=1))
    found = samples(tmp_path / "out" / "00000.tar")
    assert [members["txt"] for members in found.values()] == [b"one", b"two", b"three"]
    assert found["000000002"]["jpg"] == jpeg(2)


def test_dots_in_a_key_do_not_hide_the_picture(tmp_path: Path) -> None:
    members = [("photo.v2.jpg", b""), ("photo.v2.txt", b"second"), ("photo.v1.jpg", b"")]
    path = make_tar(tmp_path / "in.tar", *members, ("photo.v1.txt", b"first"))
    assert captions(path) == {
        "in.tar/photo.v2.jpg": ("second",),
        "in.tar/photo.v1.jpg": ("first",),
    }


def test_every_sample_is_counted_with_what_is_wrong(tmp_path: Path) -> None:
    path = make_tar(
        tmp_path / "in.tar",
        *[("good.jpg", jpeg(0)), ("good.txt", b"x")],
        *[("alone.txt", b"no picture"), ("mute.jpg", jpeg(1))],
        *[("two.jpg", jpeg(2)), ("two.png", jpeg(2)), ("two.txt", b"x")],
        *[("latin.jpg", jpeg(3)), ("latin.txt", b"caf\xe9")],
        *[("bad.jpg", jpeg(4)), ("bad.json", b"{")],
        *[("__MACOSX/x.jpg", b""), ("._good.jpg", b""), ("README", b""), ("notes.md", b"")],
    )
    assert statuses(path) == {
        "in.tar/good.jpg": "success",
        "in.tar/alone.txt": "failed_to_read",
        "in.tar/mute.jpg": "empty_caption",
        "in.tar/two.jpg": "failed_to_read",
        "in.tar/latin.jpg": "bad_caption",
        "in.tar/bad.jpg": "bad_caption",
    }
    assert "6 samples (ignored: 4 other members)" in read(path).kind


def test_links_and_names_that_lead_out_are_failed_rows(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(5))
    path = make_tar(
        tmp_path / "in.tar",
        *[("a.jpg", jpeg(0)), ("a.txt", b"fine")],
        *[("../out.jpg", jpeg(1)), ("../out.txt", b"x")],
        *[("/abs.jpg", jpeg(2)), ("/abs.txt", b"x")],
        *[link("soft.jpg", str(secret)), ("soft.txt", b"x")],
        link("hard.jpg", "a.jpg", tarfile.LNKTYPE),
        link("pipe.jpg", "", tarfile.FIFOTYPE),
    )
    build(Build(input=path, output=tmp_path / "o" / "out", workers=1))
    assert {name.partition("/")[0] for name in files(tmp_path)} == {"in.tar", "secret.jpg", "o"}
    table = rows(tmp_path / "o" / "out" / "00000.tar")
    told = {row["url"]: (row["status"], row["error_message"]) for row in table}
    assert told.pop("in.tar/a.jpg") == ("success", "")
    assert {status for status, _ in told.values()} == {"failed_to_read"}
    assert "leads out" in told["in.tar/../out.jpg"][1]
    assert "leads out" in told["in.tar//abs.jpg"][1]
    for name in ("soft", "hard", "pipe"):
        assert "link or device" in told[f"in.tar/{name}.jpg"][1]


def test_a_field_of_the_json_can_be_the_caption_or_the_split(tmp_path: Path) -> None:
    told = [{"alt": ["p", "q"], "fold": "train"}, {"fold": "test"}]
    members = [
        member
        for name, of in zip("ab", told, strict=True)
        for member in (
            (f"{name}.jpg", jpeg(0)),
            (f"{name}.txt", b"no"),
            (f"{name}.json", json.dumps(of).encode()),
        )
    ]
    path = make_tar(tmp_path / "in.tar", *members)
    splits = read(path, caption="alt", split="fold").splits
    assert splits["train"][0].captions == ("p", "q")
    assert splits["test"][0].status == "empty_caption"
    with pytest.raises(InputError, match=r"--split-column other: no [.]json member has that field"):
        read(path, split="other")


@pytest.mark.parametrize("pattern", ["{0,1}.tar", "?.tar", ""])
def test_several_tars(tmp_path: Path, pattern: str) -> None:
    for name in "01":
        make_tar(tmp_path / f"{name}.tar", ("a.jpg", jpeg(0)), ("a.txt", name.encode()))
    assert captions(tmp_path / pattern) == {"0.tar/a.jpg": ("0",), "1.tar/a.jpg": ("1",)}


def test_class_folders_in_tars_are_as_unpacked(tmp_path: Path) -> None:
    names = [
        f"{split}/{c}/{n}.jpg" for split in ("test", "train") for c in ("cat", "dog") for n in "012"
    ]
    contents = {name: jpeg(number) for number, name in enumerate(names)}
    for split in ("test", "train"):
        of = [(name, data) for name, data in contents.items() if name.startswith(split)]
        make_tar(tmp_path / f"{split}.tar", *of)
    for name, data in contents.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    build(Build(input=tmp_path / "t*.tar", output=tmp_path / "a", workers=1))
    build(Build(input=tmp_path / "tree", output=tmp_path / "b", workers=1))
    for split in ("test", "train"):
        packed, loose = (samples(tmp_path / of / split / "00000.tar") for of in "ab")
        assert [m["jpg"] + m["cls"] + m["txt"] for m in packed.values()] == [
            m["jpg"] + m["cls"] + m["txt"] for m in loose.values()
        ]
        assert (tmp_path / "a" / split / "classnames.txt").read_text() == "cat\ndog\n"


def test_the_class_names_beside_a_classification_set(tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a {c}\nthe {c}\n")
    (tmp_path / "test").mkdir()
    make_tar(tmp_path / "test" / "0.tar", ("s0.jpg", jpeg(0)), ("s0.cls", b"1"))
    build(Build(input=tmp_path / "test", output=tmp_path / "out", workers=1))
    members = samples(tmp_path / "out" / "00000.tar")["000000000"]
    assert (members["txt"], members["cls"]) == (b"a dog", b"1")
    assert fields(members)["captions"] == ["a dog", "the dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "in.tar: damaged at byte 0"),
        (b"", "in.tar: damaged at byte 0 .*end-of-archive mark is missing.*`repair`"),
    ],
)
def test_a_damaged_tar_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "in.tar").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "in.tar")


@pytest.mark.parametrize("place", ["pipe:cat x.tar", "s3://bucket/x.tar", "http://x/y.tar"])
def test_commands_and_urls_are_refused(tmp_path, command, place) -> None:
    code, _, err = command("build", "--input", place, "--output", tmp_path / "out")
    assert code == 2
    assert "only files of this machine are read, and no command is run" in err


def test_a_dotted_key_beside_a_plain_one(tmp_path: Path) -> None:
    names = ("p.v2.jpg", "p.v2.txt", "p.jpg", "p.txt", "p.mask.png")
    members = [(name, jpeg(1) if name[-3:] in ("jpg", "png") else name.encode()) for name in names]
    found = captions(make_tar(tmp_path / "a.tar", *members))
    assert found == {"a.tar/p.jpg": ("p.txt",), "a.tar/p.v2.jpg": ("p.v2.txt",)}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_a_compressed_tar_says_so(tmp_path: Path, name: str) -> None:
    plain = make_tar(tmp_path / "plain", ("k.jpg", jpeg(1)), ("k.txt", b"one"))
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(InputError, match="compressed with gzip"):
        read(tmp_path / name)


def test_a_record_without_captions_drops_none(tmp_path: Path) -> None:
    told = json.dumps({"caption": None, "uid": "7"}).encode()
    members = (("a.jpg", jpeg(1)), ("a.txt", b"one"), ("a.json", told))
    make_tar(tmp_path / "in.tar", *members)
    build(Build(input=tmp_path / "in.tar", output=tmp_path / "out", workers=1))
    (row,) = rows(tmp_path / "out" / "00000.tar")
    assert (row["captions"], row["dropped_captions"]) == (["one"], 0)
