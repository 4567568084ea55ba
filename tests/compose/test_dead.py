"""`dead` of a topic that is pumped: it has what the remote queue refuses for ever."""

from pathlib import Path

import pytest

from evermq.adapters.open import open_queue
from evermq.clock import SYSTEM
from evermq.compose.build import build, groups_of
from evermq.compose.config import TopicConfig, parse
from evermq.message import MessageFactory


def configured(use: str, directory: Path) -> TopicConfig:
    text = f"""
[topics.orders]
use = "{use}"
local = "log://{directory}/local/orders"
remote = "log://{directory}/remote/orders?message_bytes_max=4096"
dead = "log://{directory}/local/orders.dead"
groups = ["billing"]
"""
    return parse(text, "evermq.toml")["orders"]


@pytest.mark.parametrize("use", ["spooled", "buffered"])
async def test_message_that_the_remote_queue_refuses_for_ever_is_among_the_dead(use: str, tmp_path: Path) -> None:
    config, make = configured(use, tmp_path), MessageFactory()
    local = await open_queue(config.root.children["local"].url)
    reader = await local.reader("pump")
    await local.append([make(b"x" * 8_000), make(b"behind it")])  # before the remote queue's limit was lowered
    await reader.close()
    await local.close()
    queue = await build(config)
    try:
        [behind] = await (await queue.reader("billing")).read(count_max=10, wait_ms=10_000)
        assert behind.message.body == b"behind it"
        dead = await open_queue(config.root.children["dead"].url)
        [found] = await (await dead.reader("support")).read(count_max=10, wait_ms=10_000)
        assert found.message.body == b"x" * 8_000
        assert "4096" in found.message.headers["evermq-dead-reason"]
        await dead.close()
        until_ms = SYSTEM.monotonic_ms() + 10_000
        while await queue.backlog("billing") > 1 and SYSTEM.monotonic_ms() < until_ms:
            await SYSTEM.sleep(10)
        assert await queue.backlog("billing") == 1  # the one that was read, so nothing waits for the pump
    finally:
        await queue.close()


def test_dead_letters_have_the_groups_of_the_topic() -> None:
    config = configured("spooled", Path("/a"))
    groups = {url.partition("?")[0]: names for url, names in groups_of(config.root, config.groups)}
    assert groups["log:///a/local/orders.dead"] == ("billing",)
    assert groups["log:///a/local/orders"] == ("pump",)
