"""Order and no doubles from the configuration: through an outage of one rung, over restarts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermq.compose.build import build
from evermq.compose.config import TopicConfig, parse
from evermq.errors import Misconfigured
from evermq.ha.agreement import Agreement
from evermq.ha.breaker import State
from evermq.ha.failover import Failover
from evermq.ha.switch import Switch
from evermq.message import Message, MessageFactory
from evermq.numbers import SEQ
from evermq.policy.deduped import Deduped
from evermq.policy.ordered import Ordered

make = MessageFactory()
LADDER = """
[topics.orders]
use = "failover"
append_ms_max = 30000
primary = "log://{0}/primary/orders"
standby = "log://{0}/standby/orders"
last = "log://{0}/last/orders"
"""


def topic(directory: Path, more: str) -> TopicConfig:
    return parse(LADDER.format(directory) + more, "evermq.toml")["orders"]


def open_files() -> set[Path]:
    return {each.resolve() for each in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("progress", ["log://{0}/progress", "sqlite:///{0}/progress.sqlite"])
async def test_order_is_kept_over_a_restart_of_a_named_producer(tmp_path: Path, progress: str) -> None:
    config = topic(tmp_path, f'order = "key"\ndedupe = "producer"\nprogress = "{progress.format(tmp_path)}"')
    streams = set()
    for start in (0, 10):
        queue = await build(config, producer="till-1")
        assert isinstance(queue, Ordered)
        await queue.append([make(f"{n}", key="k", headers={"a": "b"}) for n in range(start, start + 10)])
        raw = await queue._queue.reader("raw")
        found = await raw.read(count_max=100, wait_ms=2_000)
        streams |= {each.message.headers[SEQ].split(" ")[0] for each in found}
        await queue.close()
    assert len(streams) == 1
    queue = await build(config)
    assert isinstance(queue, Ordered)
    assert isinstance(queue._queue, Failover)
    assert queue._queue.keeps_order  # nothing goes past what the host's own log holds
    reader = await queue.reader("billing")
    got: list[Message] = []
    while len(got) < 20:
        found = await reader.read(count_max=7, wait_ms=2_000)
        assert found
        got += [each.message for each in found]
        await reader.ack(found)
    assert [message.body for message in got] == [b"%d" % n for n in range(20)]
    assert all(message.headers == {"a": "b"} for message in got)
    assert await queue.backlog("billing") == 0
    await queue.close()


async def test_producer_that_was_closed_holds_no_file_of_its_slot(tmp_path: Path) -> None:
    queue = await build(topic(tmp_path, f'order = "key"\nprogress = "log://{tmp_path}/progress"'))
    await queue.append([make("a", key="k")])
    held = tmp_path / "last/slots/orders/0/memory"
    assert held in open_files()
    await queue.close()
    assert not [each for each in open_files() if each.is_relative_to(tmp_path)]


async def test_numbers_have_lanes_for_those_that_the_url_of_a_rung_says_while_it_is_away(tmp_path: Path) -> None:
    more = f'order = "key"\nprogress = "log://{tmp_path}/progress"'
    ladder = LADDER.replace("log://{0}/primary/orders", "redis://127.0.0.1:1/orders?lanes=100").format(tmp_path)
    queue = await build(parse(ladder + more, "evermq.toml")["orders"])
    assert isinstance(queue, Ordered)
    await queue.append([make("1", key="k")])
    assert queue.flights
    assert queue.flights.numbering.lanes % 100 == 0
    await queue.close()


async def test_dedupe_alone_holds_nothing(tmp_path: Path) -> None:
    queue = await build(topic(tmp_path, f'dedupe = "producer"\nprogress = "log://{tmp_path}/progress"'))
    assert isinstance(queue, Deduped)
    await queue.close()


async def test_messages_without_a_key_go_to_lanes_of_the_primary_that_are_well(tmp_path: Path) -> None:
    more = f'order = "key"\nprogress = "log://{tmp_path}/progress"\n[topics.orders.switch]\nprobe_ms = 3600000'
    queue = await build(topic(tmp_path, more))
    assert isinstance(queue, Ordered)
    assert isinstance(queue._queue, Failover)
    switch = queue._queue.choice
    assert isinstance(switch, Switch)
    switch.adopt(Agreement(epoch=1, away={"primary/3": State.DEGRADED}))
    assert switch.tries(3)  # the one trial there is
    positions = [(await queue.append([make(b"x")]))[0] for _ in range(40)]
    assert {position.via for position in positions} == {("primary",)}
    assert len({position.lane for position in positions} - {"3"}) == 15
    assert "3" not in {position.lane for position in positions}
    await queue.close()


REFUSED = [
    ('order = "lane"\nprogress = "sqlite:///p"', "order = 'lane': the one value"),
    ('dedupe = true\nprogress = "sqlite:///p"', "dedupe = True: the one value"),
    ('order = "key"', "order needs progress"),
    ('progress = "sqlite:///p"', "progress goes with order"),
    ('order = "key"\nprogress = "p"', "order needs progress"),
    ('order = "key"\nprogress = "sqlite:///p"\nhold_ms_max = 0', "hold_ms_max must be"),
    (
        'order = "key"\nprogress = "sqlite:///p"\nretained_bytes_max = 5',
        "retained_bytes_max must be",
    ),
    ('order = "key"\nprogress = "sqlite:///p"\nretained_bytes_max = -1', "retained_bytes_max must be"),
    ('dedupe = "producer"\nprogress = "sqlite:///p"\nretained_bytes_max = true', "retained_bytes_max must be"),
    ("retained_bytes_max = 0", "retained_bytes_max goes with order"),
]


@pytest.mark.parametrize(("more", "says"), REFUSED)
def test_configuration_that_cannot_be_kept_is_refused(tmp_path: Path, more: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        topic(tmp_path, more)


def test_order_without_a_last_rung_is_refused() -> None:
    text = '[topics.orders]\nuse = "failover"\nprimary = "memory://a/t"\nstandby = "memory://b/t"\n'
    with pytest.raises(Misconfigured, match="order needs use"):
        parse(text + 'order = "key"\nprogress = "sqlite:///p"', "evermq.toml")
