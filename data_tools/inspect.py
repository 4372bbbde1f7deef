"""`inspect`: everything that is known of one sample."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from data_tools.engine import Options, Run, own_part
from data_tools.samples import find_shards, open_index
from vlp.data.index import IMAGE_EXTENSIONS, ShardIndex
from vlp.data.leftovers import replace_tidily
from vlp.data.tar import Member
from vlp.errors import InputError, RunError
from vlp.terminal import printable

_LONGEST = 500  # characters of a value that are shown


@dataclass(frozen=True, kw_only=True)
class Inspect(Options):
    """Show one sample: members, captions, picture, its row in the table, its sidecars.

    Draws nothing.

    Args:
        key: of the sample.
        shards: tars, folders of tars, or patterns such as 'data/{00000..00099}.tar'.
        picture: write the picture to this file.
        json: print one JSON object in place of text.
    """

    key: str = field(metadata={"positional": True})
    shards: list[str]
    picture: Path | None = None
    json: bool = False


def inspect(options: Inspect) -> None:
    """Run the command.

    Raises:
        InputError: no shard has the key.
        RunError: a shard could not be read.
    """
    shards = own_part(find_shards(options.shards), options)
    jobs = [(shard, options.key) for shard in shards]
    run: Run[tuple[Path, str], int | None] = Run(
        _find, jobs, options, what="looking", name=lambda job: str(job[0])
    )
    places = sorted((job[0], row) for job, row in run if row is not None)
    for shard, row in places:
        found = _read(shard, row)
        print(json.dumps(found, ensure_ascii=False, default=str) if options.json else _text(found))
    if options.picture is not None and places:
        _write_picture(*places[0], options.picture)
    run.finish()
    if not places:
        near = _near(options.key, shards)
        raise InputError(f"{options.key}: no sample of {len(shards):,} shards has this key{near}")
    if len(places) > 1:
        raise RunError(f"{options.key}: {len(places):,} samples have this key; keys must differ")


def _find(job: tuple[Path, str]) -> int | None:
    return open_index(job[0]).find(job[1])


def _read(shard: Path, row: int) -> dict[str, Any]:
    index = open_index(shard)
    members = index.members(row)
    key, digest = index.key(row), index.src_sha256(row)
    shown: dict[str, Any] = {"key": key, "shard": str(shard), "row": row, "src_sha256": digest}
    shown["members"] = {
        name: {"offset": member.offset, "bytes": member.size} for name, member in members.items()
    }
    texts = dict[str, str]()  # apart, as a member may be called like a field
    for name, data in _bytes(shard, members).items():
        if name in IMAGE_EXTENSIONS:
            shown["picture"] = _picture(data)
        elif name == "json":
            shown["json"] = _parsed(data)
        else:
            texts[name] = data[:_LONGEST].decode("utf-8", "backslashreplace")
    shown["texts"] = texts
    shown["table"] = _table_row(shard, key)
    shown["sidecars"] = dict(_sidecars(shard, key, digest))
    return shown


def _bytes(shard: Path, members: Mapping[str, Member]) -> dict[str, bytes]:
    found = {}
    with open(shard, "rb") as file:
        for name, member in members.items():
            file.seek(member.offset)
            found[name] = file.read(member.size)
    return found


def _picture(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return f"{image.format}, {image.width} x {image.height} pixels, mode {image.mode}"
    except Exception as error:  # Pillow's readers raise anything
        return f"unreadable ({type(error).__name__})"


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError as error:
        return f"not JSON ({error})"


def _table_row(shard: Path, key: str) -> dict[str, Any] | None:
    path = shard.with_suffix(".parquet")
    try:
        if not path.is_file() or "key" not in pq.read_schema(path).names:
            return None
        rows = pq.read_table(path, filters=pc.field("key") == key).to_pylist()
    except (pa.ArrowException, OSError) as error:
        return {"unreadable": str(error)}
    return rows[0] if rows else None


def _sidecars(shard: Path, key: str, digest: str) -> Iterator[tuple[str, object]]:
    """What each sidecar says, or why it says nothing."""
    folder = shard.parent / "annotations"
    for path in sorted(folder.glob(f"*/{shard.stem}.parquet")):
        name = path.parent.name
        if name == "index":
            continue
        try:
            rows = pq.read_table(path, filters=pc.field("key") == key).to_pylist()
        except (pa.ArrowException, OSError) as error:
            yield name, f"unreadable ({error})"
            continue
        own = [row for row in rows if row.get("src_sha256") == digest]
        if own:
            yield name, {k: v for k, v in own[0].items() if k not in ("key", "src_sha256")}
        else:
            yield name, "a row of another caption" if rows else "no row"


def _text(found: Mapping[str, Any]) -> str:
    lines = [f"{found['key']}  in {found['shard']}, row {found['row']}"]
    for name, value in found.items():
        if name in ("key", "shard", "row"):
            continue
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {inner}: {_short(told)}" for inner, told in value.items()]
        elif value is not None:
            lines.append(f"{name}: {_short(value)}")
    return printable("\n".join(lines))


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _write_picture(shard: Path, row: int, output: Path) -> None:
    members = open_index(shard).members(row)
    names = [name for name in IMAGE_EXTENSIONS if name in members]
    if not names:
        raise InputError(f"--picture {output}: the sample has no picture")
    data = _bytes(shard, {names[0]: members[names[0]]})[names[0]]
    replace_tidily(output, lambda path: path.write_bytes(data))
    print(f"picture: {output} ({names[0]})")


def _near(key: str, shards: list[Path]) -> str:
    """The range of keys of the first shard, as a hint."""
    index: ShardIndex | None = open_index(shards[0]) if shards else None
    if index is None or not len(index):
        return ""
    return f"; those of {shards[0].name} go from {index.key(0)} to {index.key(len(index) - 1)}"
