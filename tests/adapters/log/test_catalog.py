"""A catalog whose checksum is right and whose content is none."""

from __future__ import annotations

from pathlib import Path

import crc32c
import pytest

from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.verify import verify
from evermq.errors import Damaged
from evermq.message import MessageFactory

_GROUP = b'{"number":2,"topic":1,"name":"g","starts":[0]}'
_TOPIC = b'{"number":1,"name":"t","lanes":1,"created_ms":0}'
SHAPES = [
    b"[]",
    b"7",
    b"no json",
    b'{"format":"x"}',
    b'{"generation":9}',
    b'{"format":1,"topics":7}',
    b'{"format":1,"generation":9,"groups":[%s]}' % _GROUP,
    b'{"format":1,"generation":9,"topics":[%s],"groups":[%s]}' % (_TOPIC, _GROUP.replace(b"[0]", b"[]")),
    b'{"format":1,"generation":9,"topics":[%s]}' % _TOPIC.replace(b'"lanes":1', b'"lanes":-1'),
]


def write(directory: Path, copy: str, content: bytes) -> None:
    (directory / copy).write_bytes(b"%08x\n%s\n" % (crc32c.crc32c(content), content))


async def log_in(directory: Path) -> None:
    place = await LogPlace.open(directory, lanes=1)
    await (await place.queue("t")).append([MessageFactory()(b"body")])
    await place.close()


@pytest.mark.parametrize("content", SHAPES)
async def test_catalog_of_another_shape_is_damaged(tmp_path: Path, content: bytes) -> None:
    await log_in(tmp_path)
    for copy in ("catalog-a", "catalog-b"):
        write(tmp_path, copy, content)
    with pytest.raises(Damaged, match="catalog-a and catalog-b are both damaged"):
        await LogPlace.open(tmp_path)
    assert not verify(tmp_path).ok


@pytest.mark.parametrize("content", SHAPES)
async def test_one_copy_of_another_shape_is_made_up_for_by_the_other(tmp_path: Path, content: bytes) -> None:
    await log_in(tmp_path)
    write(tmp_path, "catalog-a", content)
    place = await LogPlace.open(tmp_path)
    assert await place.topics() == ["t"]
    assert place.catalog.damaged == ["catalog-a"]
    await place.close()
