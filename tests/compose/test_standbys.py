"""Standbys below the standby: one ladder of as many rungs as there are keys, without a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermq.compose.build import build, groups_of
from evermq.compose.config import TopicConfig, parse
from evermq.errors import Misconfigured
from evermq.ha.agreement import Agreement, Pin
from evermq.ha.breaker import State
from evermq.ha.failover import Failover
from evermq.ha.switch import Switch
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.port import Queue, Reader

make = MessageFactory()
KEYS = ("a", "b", "c")


def rungs(**urls: str) -> TopicConfig:
    lines = [f'{key} = "{url}"' for key, url in urls.items()]
    return parse("\n".join(['[topics.orders]\nuse = "failover"\ngroups = ["billing"]', *lines]), "evermq.toml")[
        "orders"
    ]


def four(directory: Path, more: str = "") -> TopicConfig:
    """Two logs, a queue in memory, and the host's own log, not written in the order of the rungs."""
    return parse(
        f"""
[topics.orders]
last = "log://{directory}/last/orders"
standby2 = "memory://{directory.name}/orders"
standby = "log://{directory}/standby/orders"
primary = "log://{directory}/primary/orders"
use = "failover"
append_ms_max = 30000
groups = ["billing"]
{more}
""",
        "evermq.toml",
    )["orders"]


ORDERED = 'order = "key"\ndedupe = "producer"\nprogress = "log://{0}/progress"'


def test_rungs_stand_in_the_order_of_their_keys_wherever_they_are_written() -> None:
    nine = {f"standby{number}": f"memory://r{number}/orders" for number in range(9, 1, -1)}
    config = rungs(last="log:///l/orders", **nine, standby="memory://r1/orders", primary="memory://r0/orders")
    below = ["standby", *(f"standby{number}" for number in range(2, 10))]
    assert [*config.root.children] == ["primary", *below, "last"]
    made = [url for url, _ in groups_of(config.root, config.groups)]
    assert made == [f"memory://r{number}/orders" for number in range(10)]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["standby", "standby3"], "standby3 needs standby2 above it"),
        (["standby", "standby2", "standby5", "standby9"], "standby5 needs standby3 above it"),
        (["standby2"], "failover needs standby = "),
        (["standby", "stanby2"], "key 'stanby2' is not known: did you mean 'standby2'"),
        (["standby", "standby10"], "key 'standby10' is not known: did you mean 'standby"),
        (["standby", "standby1"], "key 'standby1' is not known: did you mean 'standby'"),
    ],
)
def test_gap_and_unknown_key_are_refused_with_the_key_that_is_meant(keys: list[str], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        rungs(primary="memory://p/orders", **{key: f"memory://{key}/orders" for key in keys})


def test_standby_that_appears_twice_is_refused_by_its_keys() -> None:
    with pytest.raises(Misconfigured, match="standby and standby3 are the same queue"):
        rungs(
            primary="kafka://k/orders",
            standby="redis://r/orders",
            standby2="rabbitmq://m/orders",
            standby3="redis://r:6379/orders?lanes=8",
        )


async def take_all(reader: Reader, count: int) -> list[tuple[bytes | None, int]]:
    found: list[tuple[bytes | None, int]] = []
    while len(found) < count:  # until the test's time is up: what comes early is held for a while
        deliveries = await reader.read(count_max=7, wait_ms=5_000)
        found += [(each.message.key, int(each.message.body)) for each in deliveries]
        await reader.ack(deliveries)
    return found


def steered(queue: Queue) -> Switch:
    """Its switch, told that something else than traffic tries what is away."""
    assert isinstance(queue, Failover)
    switch = queue.choice
    assert isinstance(switch, Switch)
    for rung in switch.rungs:
        switch.leave_to_probe(rung, True)
    return switch


async def test_order_is_kept_over_four_rungs_of_which_one_after_the_other_is_away(tmp_path: Path) -> None:
    queue = await build(four(tmp_path, ORDERED.format(tmp_path)))
    assert isinstance(queue, Ordered)
    switch = steered(queue._queue)
    went, sent, away = [], 0, dict[str, State]()
    for epoch, rung in enumerate(["", "primary", "standby", "standby2", ""], 1):
        away = {**away, rung: State.DEGRADED} if rung else {}
        switch.adopt(Agreement(epoch=epoch, away=away))
        batch = [make(f"{sent + n}", key=KEYS[n % 3]) for n in range(12)]
        sent += len(batch)
        went.append({position.via for position in await queue.append(batch)})
    assert went[:4] == [{("primary",)}, {("standby",)}, {("standby2",)}, {("last",)}]
    reader = await queue.reader("billing")
    found = await take_all(reader, sent)
    assert sorted(number for _, number in found) == list(range(sent))
    for key in KEYS:
        mine = [number for at, number in found if at == key.encode()]
        assert mine == sorted(mine)
    assert await queue.backlog("billing") == 0
    await queue.close()


async def test_each_lower_rung_whose_lanes_have_ends_has_copies_of_its_own(tmp_path: Path) -> None:
    config = four(tmp_path, ORDERED.format(tmp_path))
    queue = await build(config)
    assert isinstance(queue, Ordered)
    ladder = queue._queue
    assert isinstance(ladder, Failover)
    assert [*ladder.rungs] == ["primary", "standby", "standby2"]
    assert [*ladder.retained] == ["standby", "standby2"]
    steered(ladder).adopt(Agreement(epoch=1, pin=Pin("standby2", "ann", "new disks", 0)))
    [position] = await queue.append([make("x", key="a")])
    assert position.via == ("standby2",)
    counts = {key: each.counts for key, each in ladder.retained.items()}
    # A slow disk is not waited for, which is counted as well.
    assert {key: each.kept + each.unkept for key, each in counts.items()} == {"standby": 0, "standby2": 1}
    await queue.close()


async def test_what_the_host_holds_goes_up_into_the_first_rung_that_takes_it(tmp_path: Path) -> None:
    queue = await build(four(tmp_path))
    switch = steered(queue)
    switch.adopt(Agreement(epoch=1, pin=Pin("last", "ann", "a drill", 0)))
    [position] = await queue.append([make("1", key="a")])
    assert position.via == ("last",)
    assert await take_all(await queue.reader("billing"), 1) == [(b"a", 1)]
    await queue.close()
