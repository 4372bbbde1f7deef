"""One shard for each defect, made by the standard library and edits of bytes; `CASES` has all."""

import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_tools.defects.codes import CODES
from data_tools.validate import Validate, validate
from tests.data_tools.conftest import jpeg
from vlp.data.index import write_index

Members = Sequence[tuple[str, bytes]]
Case = tuple[str, Callable[[Path], object], set[str]]


def sample(number: int, **members: bytes) -> list[tuple[str, bytes]]:
    """A sample as img2dataset writes it, or with other members."""
    key = f"{number:09d}"
    caption = f"a photo of {number} dogs"
    whole = {
        "jpg": jpeg(number),
        "json": json.dumps({"key": key, "caption": caption}).encode(),
        "txt": caption.encode(),
    }
    return [(f"{key}.{name}", data) for name, data in (whole | members).items() if data is not None]


GOOD = [sample(number) for number in range(4)]


def tar(*samples: Members, layout: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of samples."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as archive:
        for name, data in (member for members in samples for member in members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def ended(data: bytes) -> int:
    """Where the end mark begins."""
    return -(-len(data.rstrip(b"\0")) // 512) * 512


def header_of(data: bytes, name: str) -> int:
    return data.index(name.encode() + b"\0")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(image: Image.Image, **options: object) -> bytes:
    return encoded(image, "PNG", **options)


def bomb(side: int) -> bytes:
    """A PNG that says it has side x side pixels, and holds none."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def shard(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "00000.tar").write_bytes(data)


def among(*members: tuple[str, bytes], layout: int = tarfile.USTAR_FORMAT) -> Callable:
    """Good samples with other members between them."""
    return shard(tar(*GOOD[:2], members, *GOOD[2:], layout=layout))


def named(key: str, *more: tuple[str, bytes]) -> Callable:
    """Good samples, and one with another key."""
    return among((f"{key}.jpg", jpeg(5)), (f"{key}.json", b"{}"), (f"{key}.txt", b"a"), *more)


def having(**members: bytes) -> Callable[[Path], object]:
    """Good samples, and one with other members."""
    return shard(tar(*GOOD, sample(7, **members)))


def special(kind: bytes) -> Callable[[Path], object]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in GOOD[0]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("000000001.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return shard(buffer.getvalue())


def beside(name: str, content: object) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (folder / "00000.tar").write_bytes(WHOLE)
        (folder / name).write_text(json.dumps(content))

    return make


def stale_index(folder: Path) -> None:
    path = folder / "00000.tar"
    path.write_bytes(WHOLE)
    write_index(path)
    path.write_bytes(tar(*GOOD[1:], sample(9)))


def other_table(folder: Path) -> None:
    (folder / "00000.tar").write_bytes(WHOLE)
    keys = [f"{number:09d}" for number in (0, 1, 2, 8)]
    pq.write_table(pa.table({"key": keys, "status": ["success"] * 4}), folder / "00000.parquet")


def two_shards(folder: Path) -> None:
    (folder / "00000.tar").write_bytes(tar(*GOOD))
    (folder / "00001.tar").write_bytes(tar(sample(8), GOOD[2]))


WHOLE = tar(*GOOD)
AT = header_of(WHOLE, "000000002.jpg")
CUT = WHOLE[:AT]
PHOTO = Image.open(io.BytesIO(jpeg(3)))
LONG = tar(
    [("d" * 120 + ".jpg", jpeg(1)), ("d" * 120 + ".txt", b"a dog")], layout=tarfile.GNU_FORMAT
)
BIG_PNG = encoded(Image.effect_noise((64, 64), 90), "PNG")
ANIMATED = encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90)])
TURNED = Image.Exif()
TURNED[0x0112] = 6
HEAD, MEMBERS, DECODE = "headers", "members", "decode"

TAR_CASES: list[Case] = [
    ("FILE_EMPTY", shard(b""), set()),
    ("NOT_A_TAR", shard(b"<html>not found</html>" * 90), set()),
    ("TAR_GZIPPED", shard(gzip.compress(WHOLE)), set()),
    ("TAR_TRUNCATED", shard(CUT), set()),
    ("TAR_CUT_IN_HEADER", shard(WHOLE[: AT + 100]), set()),
    ("TAR_CUT_IN_DATA", shard(WHOLE[: AT + 700]), set()),
    (
        "TAR_BAD_CHECKSUM",
        shard(WHOLE[: AT + 148] + b"0000000\0" + WHOLE[AT + 156 :]),
        {"SAMPLE_CUT"},
    ),
    ("TAR_ZEROED_HEADER", shard(CUT + bytes(512) + WHOLE[AT + 512 :]), {"SAMPLE_CUT"}),
    ("TAR_BYTES_MISSING", shard(WHOLE[: AT + 612] + WHOLE[AT + 700 :]), {"SAMPLE_CUT"}),
    ("TAR_BAD_EXTENSION", shard(LONG[:512] + LONG[512:1024] + bytes(20) + LONG[1044:]), None),
    ("TAR_CONCATENATED", shard(tar(*GOOD[:2]) + tar(*GOOD[2:])), set()),
    ("TAR_GARBAGE_AFTER_END", shard(WHOLE + b"garbage" * 99), set()),
    ("TAR_ZEROS_TO_END", shard(WHOLE + bytes(2 << 20)), set()),
    ("TAR_SHORT_END_MARK", shard(WHOLE[: ended(WHOLE) + 512]), set()),
    ("NO_MEMBERS", shard(bytes(10240)), set()),
    ("NO_SAMPLES", shard(tar([("README", b"hello")])), {"NAME_NO_EXTENSION"}),
    ("SAMPLE_CUT", shard(WHOLE[: header_of(WHOLE, "000000002.json")]), {"TAR_TRUNCATED"}),
]
NAME_CASES: list[Case] = [
    ("MEMBER_LINK", special(tarfile.SYMTYPE), set()),
    ("MEMBER_LINK", special(tarfile.LNKTYPE), set()),
    ("MEMBER_DEVICE", special(tarfile.CHRTYPE), set()),
    ("MEMBER_SPECIAL", special(b"V"), set()),
    (
        "NAME_ABSOLUTE",
        named("/etc/a"),
        set(),
    ),
    ("NAME_PARENT", named("../a"), set()),
    ("NAME_NOT_UTF8", named("caf\udce9"), set()),
    ("NAME_CONTROL", named("a\n"), set()),
    ("NAME_MACOSX", among(("__MACOSX/000000001.jpg", b"x")), set()),
    ("NAME_HIDDEN", among(("._000000001.jpg", b"x"), ("./.DS_Store", b"x")), set()),
    ("NAME_NO_EXTENSION", among(("README", b"x")), set()),
    ("NAME_UPPER_CASE", among(("a.JPG", jpeg(5)), ("a.json", b"{}"), ("a.txt", b"a")), set()),
    ("NAME_TOO_LONG", shard(LONG), set()),
    ("KEY_DOTTED", named("a.v2"), set()),
]
SAMPLE_CASES: list[Case] = [
    (
        "DUPLICATE_MEMBER",
        named("a", ("a.txt", b"a")),
        set(),
    ),
    ("DUPLICATE_KEY", shard(tar(*GOOD, GOOD[1])), set()),
    ("DUPLICATE_KEY_ACROSS", two_shards, set()),
    ("INTERLEAVED", shard(tar(GOOD[0][:1], GOOD[1], GOOD[0][1:])), set()),
    ("MISSING_IMAGE", having(jpg=None), set()),
    ("MISSING_TEXT", having(txt=None, json=None), set()),
    ("MISSING_MEMBER", having(json=None), set()),
    ("SEVERAL_IMAGES", having(png=BIG_PNG), set()),
    ("IMAGE_EMPTY", having(jpg=b""), set()),
    ("INDEX_STALE", stale_index, set()),
    ("STATS_MISMATCH", beside("00000_stats.json", {"successes": 5}), set()),
    ("STATS_MISMATCH", beside("00000_stats.json", []), set()),
    ("PARQUET_MISMATCH", other_table, set()),
    ("SIZES_MISMATCH", beside("sizes.json", {"00000.tar": 5}), set()),
    ("SHARD_MISSING", beside("sizes.json", {"00000.tar": 4, "00001.tar": 4}), set()),
    (
        "MANIFEST_MISMATCH",
        beside("manifest.json", {"contract": 1, "shards": {"00000.tar": {"bytes": 1}}}),
        set(),
    ),
]
CONTENT_CASES: list[Case] = [
    ("CAPTION_NOT_UTF8", having(txt=b"caf\xe9"), {"JSON_CAPTION_MISMATCH"}),
    ("CAPTION_NUL", having(txt=b"a\0b", json=b"{}"), set()),
    ("CAPTION_EMPTY", having(txt=b" \n", json=b"{}"), set()),
    ("CAPTION_BOM", having(txt=b"\xef\xbb\xbfa dog", json=b"{}"), set()),
    ("CAPTION_NOT_NFC", having(txt="cafe\u0301".encode(), json=b"{}"), set()),
    ("CAPTION_HTML_ENTITY", having(txt=b"salt &amp; pepper", json=b"{}"), set()),
    ("CAPTION_HTML_TAG", having(txt=b"a <b>dog</b>", json=b"{}"), set()),
    ("CAPTION_TOO_LONG", having(txt=b"a" * 1001, json=b"{}"), set()),
    ("JSON_INVALID", having(json=b"{"), set()),
    ("JSON_INVALID", having(json=b"[" * 200_000), set()),
    ("JSON_NOT_OBJECT", having(json=b"[1]"), set()),
    ("JSON_CAPTIONS_INVALID", having(json=b'{"captions": ["a", 3]}'), set()),
    ("JSON_CAPTIONS_INVALID", having(json=b'{"captions": [" "]}'), set()),
    ("JSON_KEY_MISMATCH", having(json=b'{"key": "000000008"}'), set()),
    ("JSON_CAPTION_MISMATCH", having(json=b'{"caption": "a cat"}'), set()),
    ("MISSING_TEXT", having(txt=None, json=b'{"caption": "a cat"}'), {"MISSING_MEMBER"}),
    ("IMAGE_EMPTY", having(jpg=b""), set()),
    ("IMAGE_NOT_A_PICTURE", having(jpg=b"<!DOCTYPE html><html>404</html>"), set()),
    ("IMAGE_NOT_A_PICTURE", having(jpg=b"%!PS-Adobe-3.0 EPSF-3.0\n"), set()),
    ("IMAGE_UNREADABLE", having(jpg=jpeg(5)[:30]), set()),
    ("IMAGE_TOO_LARGE", having(png=bomb(10_001), jpg=None), {"MISSING_MEMBER"}),
    ("IMAGE_TOO_LARGE", having(png=bomb(20_000), jpg=None), {"MISSING_MEMBER"}),
    ("IMAGE_WRONG_EXTENSION", having(jpg=encoded(PHOTO, "WEBP")), set()),
    ("IMAGE_ORIENTATION", having(jpg=jpeg(5, exif=TURNED)), set()),
    (
        "IMAGE_ALPHA",
        having(png=png(PHOTO.convert("RGBA")), jpg=None),
        {"MISSING_MEMBER"},
    ),
    ("IMAGE_ALPHA", having(png=png(PHOTO.convert("LA")), jpg=None), {"MISSING_MEMBER"}),
    (
        "IMAGE_ALPHA",
        having(png=png(PHOTO.convert("P"), transparency=0), jpg=None),
        {"MISSING_MEMBER"},
    ),
    (
        "IMAGE_16_BIT",
        having(png=png(Image.new("I;16", (8, 8), 30000)), jpg=None),
        {"MISSING_MEMBER"},
    ),
    ("IMAGE_CMYK", having(jpg=encoded(PHOTO.convert("CMYK"), "JPEG")), set()),
    ("IMAGE_ANIMATED", having(jpg=ANIMATED), {"IMAGE_WRONG_EXTENSION"}),
]
HURT = bytearray(jpeg(5, (64, 64)))
HURT[2000:2040] = bytes(40)
DECODE_CASES: list[Case] = [
    ("IMAGE_CORRUPT", having(jpg=bytes(HURT)), set()),
    ("IMAGE_TRUNCATED", having(jpg=jpeg(5)[:-200]), set()),
    ("IMAGE_TRUNCATED", having(png=BIG_PNG[:-900], jpg=None), {"MISSING_MEMBER"}),
]
CASES = [
    *((HEAD, *case) for case in (*TAR_CASES, *NAME_CASES, *SAMPLE_CASES)),
    *((MEMBERS, *case) for case in CONTENT_CASES),
    *((DECODE, *case) for case in DECODE_CASES),
]


def codes(capsys, *shards: Path, level: str = HEAD, **options: object) -> tuple[int, set[str]]:
    """Exit code and codes of a run, from its report."""
    report = shards[0].parent.parent / "report.jsonl"
    names = list(map(str, shards))
    code = validate(
        Validate(shards=names, level=level, report=report, executor="serial", **options)
    )
    capsys.readouterr()
    return code, {json.loads(line)["code"] for line in report.read_text().splitlines()}


@pytest.mark.parametrize(
    ("level", "code", "make", "also"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES]
)
def test_each_defect_has_its_code(tmp_path, capsys, level, code, make, also) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    make(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    exit_code, found = codes(capsys, *sorted(folder.glob("*.tar")), level=level)
    assert code in found
    if also is not None:
        assert found == {code} | also
    assert exit_code == int(any(CODES[name].severity == "error" for name in found))
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_shard_that_cannot_be_read_is_a_defect(tmp_path) -> None:
    from data_tools.defects.samples import Checks
    from data_tools.defects.scanner import Job, check_shard

    for path in (tmp_path, tmp_path / "gone.tar"):
        assert [defect.code for defect in check_shard(Job(path, Checks())).defects] == [
            "FILE_UNREADABLE"
        ]


def test_a_member_that_is_too_large_is_not_read(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("data_tools.defects.scanner.MOST_BYTES", 2000)
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "00000.tar").write_bytes(tar(*GOOD, sample(7, txt=b"a" * 2001)))
    assert codes(capsys, folder / "00000.tar", level=MEMBERS) == (1, {"MEMBER_TOO_LARGE"})


def test_every_code_has_a_case() -> None:
    elsewhere = {"FILE_UNREADABLE", "MEMBER_TOO_LARGE"}  # the tests above
    assert {case[1] for case in CASES} | elsewhere == set(CODES)


@pytest.mark.parametrize(
    ("level", "code", "make"),
    [case[:3] for case in CASES if CODES[case[1]].level != HEAD],
    ids=[case[1] for case in CASES if CODES[case[1]].level != HEAD],
)
def test_the_table_names_the_lowest_level(tmp_path, capsys, level, code, make) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    make(folder)
    assert CODES[code].level == level
    lower = {MEMBERS: HEAD, DECODE: MEMBERS}[level]
    assert code not in codes(capsys, folder / "00000.tar", level=lower)[1]


def test_a_good_shard_is_clean_at_every_level(tmp_path, capsys) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "00000.tar").write_bytes(WHOLE)
    write_index(folder / "00000.tar")
    for level in (HEAD, MEMBERS, DECODE):
        assert codes(capsys, folder / "00000.tar", level=level) == (0, set())
