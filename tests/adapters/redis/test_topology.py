"""Who the master is, as Sentinels say it: whoever turns out not to be one is let go."""

from __future__ import annotations

from typing import Any

import pytest

from evermq.adapters.redis.topology import Address, Sentinels
from evermq.errors import Unavailable


class Server:
    """Says what its address stands for."""

    def __init__(self, address: Address, answers: dict[int, Any]) -> None:
        self.where = f"{address[0]}:{address[1]}"
        self._answer = answers[address[1]]
        self.is_closed = False

    async def tell(self, *values: object) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("role", [[b"slave"], Unavailable("down")])
async def test_server_that_is_no_master_is_closed_each_time_that_it_is_named(role: Any) -> None:
    opened: list[Server] = []
    answers: dict[int, Any] = {1: [b"here", b"2"], 2: role, 3: [b"master"]}

    def open_(address: Address) -> Any:
        opened.append(Server(address, answers))
        return opened[-1]

    topology = Sentinels([("here", 1)], "main", open_, open_)
    sentinel = opened.pop()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await topology.server("")
    assert [each.is_closed for each in opened] == [True] * 3
    sentinel._answer = [b"here", b"3"]
    found: Any = await topology.server("")
    assert not found.is_closed
    await topology.close()
    assert found.is_closed
