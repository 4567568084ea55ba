"""A topic that is pumped is opened while its remote queue is away: for that time the local one is there."""

import asyncio
from pathlib import Path

import pytest

from evermq.compose.build import build
from evermq.compose.config import TopicConfig, parse
from evermq.errors import Misconfigured, TooLarge, Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery

message = MessageFactory()
KINDS = ["spooled", "buffered"]


def configured(use: str, directory: Path, require: str = "disk", remote: str = "message_bytes_max=4096") -> TopicConfig:
    text = f"""
[topics.orders]
use = "{use}"
require = "{require}"
local = "log://{directory}/local/orders"
remote = "log://{directory}/remote/orders?{remote}"
dead = "log://{directory}/dead/orders.dead"
"""
    return parse(text, "evermq.toml")["orders"]


def away(place: Path) -> Path:
    """A file stands where the directory of a log is to be, so that it cannot be opened."""
    place.touch()
    return place


@pytest.mark.parametrize("use", KINDS)
async def test_remote_queue_that_is_away_at_the_start_joins_when_it_is_back(use: str, tmp_path: Path) -> None:
    remote = away(tmp_path / "remote")
    async with asyncio.timeout(60):
        queue = await build(configured(use, tmp_path))
        [position] = await queue.append([message(b"a book", key="k")])
        assert position.via == ("local",)
        reading = asyncio.create_task(queue.reader("billing"))
        remote.unlink()
        reader = await reading
        found: list[Delivery] = []
        while not found:
            found = await reader.read(count_max=10, wait_ms=1_000)
        assert [(each.message.body, each.position.via) for each in found] == [(b"a book", ("remote",))]
        await reader.ack(found)
        with pytest.raises(TooLarge):  # its limits count from now on
            await queue.append([message(bytes(8_000))])
        while (await queue.append([message(b"a lamp")]))[0].via != (("local",) if use == "spooled" else ("remote",)):
            await asyncio.sleep(0.01)
        await queue.close()


@pytest.mark.parametrize("use", KINDS)
async def test_dead_letters_that_are_away_at_the_start_join_as_well(use: str, tmp_path: Path) -> None:
    away(tmp_path / "dead")
    async with asyncio.timeout(60):
        queue = await build(configured(use, tmp_path))
        await queue.append([message(b"a book")])
        await queue.close()


@pytest.mark.parametrize("use", KINDS)
async def test_topic_of_which_the_local_queue_is_away_is_not_opened(use: str, tmp_path: Path) -> None:
    away(tmp_path / "local")
    with pytest.raises(Unavailable):
        await build(configured(use, tmp_path))


@pytest.mark.parametrize("use", KINDS)
async def test_remote_queue_that_is_wrong_for_good_is_told_at_once(use: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="lanes"):
        await build(configured(use, tmp_path, remote="lanes=0"))


async def test_only_what_gives_acknowledgements_has_to_be_as_durable_as_the_topic_requires(tmp_path: Path) -> None:
    """The remote queue of a spooled topic gives none, and so joins; that of a buffered one stays out."""
    for use, joins in (("spooled", True), ("buffered", False)):
        directory = tmp_path / use
        directory.mkdir()
        remote = away(directory / "remote")
        async with asyncio.timeout(60):
            queue = await build(configured(use, directory, remote="fsync=never"))
            await queue.append([message(b"a book")])
            remote.unlink()
            if joins:
                await queue.reader("billing")
            said = ""
            while not joins and "requires disk" not in said:
                with pytest.raises(Unavailable, match="not open yet") as told:
                    await queue.backlog("billing")
                said = str(told.value)
                await asyncio.sleep(0.01)
            await queue.close()
