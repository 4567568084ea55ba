"""Who the master is, as Sentinels say it: whoever turns out not to be one is let go. Who the nodes of a cluster are, as
one of them says it: those that went are not asked any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from evermq.adapters.redis.topology import Address, Cluster, Sentinels
from evermq.errors import Closed, EvermqError, Unavailable, Uncertain

LIMIT_S = 10
SILENCE = object()  # in place of an answer: there is none, until the connection is cut


class Server:
    """Says what its address stands for."""

    def __init__(self, address: Address, answers: dict[int, Any]) -> None:
        self.where = f"{address[0]}:{address[1]}"
        self._port, self._answers = address[1], answers
        self.asked = 0
        self.is_closed = self.is_retired = self.is_deposed = False
        self.is_asked, self._ended = asyncio.Event(), asyncio.Event()

    async def tell(self, *values: object) -> Any:
        self.asked += 1
        self.is_asked.set()
        answer = self._answers[self._port]
        if answer is SILENCE:
            await self._ended.wait()
            raise Uncertain("the connection ended")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def retire(self) -> None:
        self.is_retired = True

    async def depose(self) -> None:
        self.is_deposed = True

    async def close(self) -> None:
        self.is_closed = True
        self._ended.set()


@pytest.mark.parametrize("role", [[b"slave"], Unavailable("down")])
async def test_server_that_is_no_master_is_closed_each_time_that_it_is_named(role: Any) -> None:
    opened: list[Server] = []
    answers: dict[int, Any] = {1: [b"here", b"2"], 2: role, 3: [b"master"]}

    def open_(address: Address) -> Any:
        opened.append(Server(address, answers))
        return opened[-1]

    topology = Sentinels([("here", 1)], "main", open_, open_)
    opened.pop()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await topology.server("")
    assert [each.is_closed for each in opened] == [True] * 3
    answers[1] = [b"here", b"3"]
    found: Any = await topology.server("")
    assert not found.is_closed
    await topology.close()
    assert found.is_closed


async def test_master_whose_place_another_one_took_is_deposed_and_not_closed() -> None:
    answers: dict[int, Any] = {1: [b"here", b"2"], 2: [b"master"], 3: [b"master"]}

    def open_(address: Address) -> Any:
        return Server(address, answers)

    topology = Sentinels([("here", 1)], "main", open_, open_)
    first: Any = await topology.server("")
    answers[1] = [b"here", b"3"]
    await topology.doubt()
    second: Any = await topology.server("")
    assert (first.where, first.is_deposed, first.is_closed) == ("here:2", True, False)
    assert (second.where, second.is_deposed) == ("here:3", False)


async def test_master_that_is_looked_at_while_its_topology_is_closed_is_closed_too() -> None:
    opened: list[Server] = []
    answers: dict[int, Any] = {1: [b"here", b"3"], 2: [b"here", b"4"], 3: SILENCE, 4: [b"master"]}

    def open_(address: Address) -> Any:
        opened.append(Server(address, answers))
        return opened[-1]

    topology = Sentinels([("here", 1), ("here", 2)], "main", open_, open_)
    async with asyncio.timeout(LIMIT_S):
        finding = asyncio.create_task(topology.server(""))
        while opened[-1].where != "here:3":
            await asyncio.sleep(0)
        await opened[-1].is_asked.wait()
        await topology.close()
        with pytest.raises(Closed):
            await finding
    assert all(each.is_closed for each in opened)
    with pytest.raises(Closed):
        await topology.server("")


def slots(*ports: int) -> list[Any]:
    """What a node says: the first port holds all slots, the others are replicas."""
    return [[0, 16_383, *([b"here", port, b"id"] for port in ports)]]


class Nodes:
    """A cluster that was dialled at port 1, whose nodes say as `answers` has it."""

    def __init__(self, answers: dict[int, Any]) -> None:
        self.answers = answers
        self.opened: list[Server] = []
        self.cluster = Cluster([("here", 1)], self._open)

    def _open(self, address: Address) -> Any:
        self.opened.append(Server(address, self.answers))
        return self.opened[-1]

    def asked(self, port: int) -> int:
        return sum(each.asked for each in self.opened if each.where == f"here:{port}")

    async def find(self) -> str:
        """Anew; where it is."""
        await self.cluster.doubt()
        return (await self.cluster.server("")).where


async def test_node_that_the_map_names_no_more_is_not_asked() -> None:
    nodes = Nodes({1: [[0, 99, [b"here", 2, b"id"]], [100, 16_383, [b"here", 3, b"id"]]]})
    assert [each.where for each in await nodes.cluster.servers()] == ["here:2", "here:3"]
    gone = next(each for each in nodes.opened if each.where == "here:2")
    nodes.answers |= {1: Unavailable("down"), 2: Unavailable("down"), 3: slots(3)}
    for _ in range(3):
        assert await nodes.find() == "here:3"
    assert gone.asked == 1
    assert gone.is_deposed
    await nodes.cluster.close()
    assert all(each.is_closed for each in nodes.opened)


async def test_node_that_does_not_answer_is_asked_last_while_the_map_still_names_it() -> None:
    nodes = Nodes({1: slots(2, 1)})
    await nodes.find()
    nodes.answers |= {1: Unavailable("down"), 2: slots(2, 1)}
    for _ in range(3):
        assert await nodes.find() == "here:2"
    assert nodes.asked(1) == 2


async def test_seeds_are_asked_where_all_that_were_named_later_are_gone() -> None:
    nodes = Nodes({1: slots(2), 2: slots(2)})
    for _ in range(2):
        assert await nodes.find() == "here:2"
    nodes.answers |= {1: slots(3), 2: Unavailable("down"), 3: slots(3)}
    assert await nodes.find() == "here:3"


@pytest.mark.parametrize("answer", [[], Unavailable("down")])
async def test_node_that_was_taken_out_of_its_cluster_hides_no_other(answer: Any) -> None:
    nodes = Nodes({1: slots(2, 3), 2: slots(2, 3), 3: slots(3)})
    await nodes.find()
    nodes.answers |= {1: answer, 2: answer}
    with pytest.raises(Unavailable, match="which one holds what"):
        await nodes.find()
    nodes.answers[2] = slots(3)
    assert await nodes.find() == "here:3"


@pytest.mark.parametrize("answer", [slots(1, 2), slots(1)], ids=["a replica", "not named"])
async def test_node_that_is_master_no_more_is_deposed(answer: Any) -> None:
    """What it still answered would be lost, since it becomes a replica of another one, or is none of the cluster's."""
    nodes = Nodes({1: slots(2, 1)})
    before: Any = await nodes.cluster.server("")
    nodes.answers |= {1: answer, 2: Unavailable("frozen")}
    assert await nodes.find() == "here:1"
    assert before.is_deposed
    nodes.answers |= {1: slots(2, 1), 2: slots(2, 1)}
    await nodes.cluster.doubt()
    again: Any = await nodes.cluster.server("")
    assert (again.where, again.is_deposed) == ("here:2", False)


async def test_nodes_that_are_looked_at_while_their_cluster_is_closed_are_closed_too() -> None:
    nodes = Nodes({1: SILENCE, 2: slots(2, 3)})
    nodes.cluster = Cluster([("here", 1), ("here", 2)], nodes._open)
    async with asyncio.timeout(LIMIT_S):
        finding = asyncio.create_task(nodes.cluster.server(""))
        while not nodes.asked(1):
            await asyncio.sleep(0)
        await nodes.cluster.close()
        with pytest.raises(Closed):
            await finding
    assert all(each.is_closed for each in nodes.opened)


async def said(asking: Awaitable[Any]) -> str:
    with pytest.raises(EvermqError) as caught:
        await asking
    assert isinstance(caught.value, Unavailable)
    return str(caught.value)


async def test_slot_that_no_node_holds_is_told_apart_from_nodes_that_do_not_answer() -> None:
    nodes = Nodes({1: [[0, 99, [b"here", 1, b"id"]]]})
    found = await said(nodes.cluster.server("orders"))
    assert "slot" in found
    assert "redis-cli --cluster fix" in found
    await nodes.cluster.doubt()
    nodes.answers[1] = Unavailable("down")
    assert "slot" not in await said(nodes.cluster.server("orders"))


async def test_doubt_that_comes_while_the_map_is_read_takes_nothing_from_who_waits_for_it() -> None:
    """Who waits was told that no node holds its slot, when what moved was only to be found out anew."""
    nodes = Nodes({1: slots(2)})
    before: Any = await nodes.cluster.server("")
    doubt: Callable[[], Awaitable[None]] = nodes.cluster.doubt
    before.retire = before.depose = doubt
    nodes.answers[2] = slots(3)
    assert await nodes.find() == "here:3"
