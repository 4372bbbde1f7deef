"""What the server keeps in memory is bounded."""

import asyncio
import io
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.vlp.serve.serving import noise
from vlp.retrieval.pictures import MissingPictureError
from vlp.serve.rates import Rate
from vlp.serve.refusals import Refused
from vlp.serve.thumbnails import Thumbnails


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        noise(64, 48, seed=number).save(path)
    return [str(path) for path in paths]


def test_the_latest_pictures_are_kept_up_to_a_size(files, tmp_path):
    one = len(Thumbnails().of_file(files[0], None, 320))
    kept = Thumbnails(most_bytes=3 * one + one // 2)
    made = {path: kept.of_file(path, None, 320) for path in files[:3]}
    kept.of_file(files[0], None, 320)  # asked for again, so the second is the oldest now
    kept.of_file(files[3], None, 320)
    for path in files:
        (tmp_path / path).unlink()
    assert kept.of_file(files[0], None, 320) == made[files[0]]
    assert kept.of_file(files[2], None, 320) == made[files[2]]
    for path in (files[1], files[4]):
        with pytest.raises(MissingPictureError):
            kept.of_file(path, None, 320)


def test_a_picture_that_was_indexed_again_is_read_again(files):
    kept = Thumbnails()
    before = kept.of_file(files[0], "1000:1", 320)
    noise(64, 48, seed=9).save(files[0])
    assert kept.of_file(files[0], "1000:1", 320) == before
    assert kept.of_file(files[0], "1000:2", 320) != before
    small = Image.open(io.BytesIO(kept.of_file(files[0], "1000:1", 32)))
    assert small.size == (32, 24)


def test_each_client_has_its_own_budget():
    rate = Rate("searches", 2)

    async def asked(host):
        try:
            await rate.check(SimpleNamespace(client=SimpleNamespace(host=host)))
        except Refused as error:
            return error.status
        return 200

    async def all_asked(hosts):
        return [await asked(host) for host in hosts]

    hosts = ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.1", "::ffff:10.0.0.1"]
    # addresses of one IPv6 network of 64 bits belong to one client
    hosts += ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "fe80::1%eth0"]
    statuses = asyncio.run(all_asked(hosts))
    assert statuses == [200, 200, 200, 429, 429, 200, 200, 429, 200, 200]
