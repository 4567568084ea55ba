"""What an append is told where fewer replicas confirmed it than it was to have."""

from __future__ import annotations

from typing import Any

import pytest
from redis import exceptions as driver

from evermq.adapters.redis.lane import lanes_of
from evermq.adapters.redis.script import Script, pack
from evermq.adapters.redis.wire import Request, Wire
from evermq.errors import Damaged, Denied, EvermqError, Overloaded, Unavailable, Uncertain, Unsupported

APPEND = Script.load("append", "sld")


class Alone:
    """A server without replicas, and all that a wire asks of what finds it."""

    where, splits = "there:6379", False

    def __init__(self, reply: object) -> None:
        self.reply = reply

    async def server(self, tag: str) -> Alone:
        return self

    async def check(self, server: object) -> None: ...

    async def doubt(self) -> None: ...

    async def ask(self, parts: list[bytes], count: int, *, more_ms: int = 0) -> list[object]:
        assert b"WAIT" in parts
        return [self.reply, 0]


async def appended(reply: object) -> Any:
    alone: Any = Alone(reply)
    [found] = await Wire(alone, alone, replicas=1).each(
        Request(APPEND, lanes_of("t", 1, 1), pack("id", 10)), keeps=True
    )
    return found


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (driver.NoPermissionError("NOPERM this user has no permissions to run the 'evalsha' command"), Denied),
        (driver.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), Damaged),
        (driver.ResponseError("ERR unknown command 'EVALSHA'"), Unsupported),
        (driver.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), Overloaded),
        (driver.ResponseError("NOREPLICAS Not enough good replicas to write."), Unavailable),
    ],
)
async def test_certain_refusal_is_told_as_what_it_is_although_no_replica_confirmed_anything(
    reply: Exception, kind: type[EvermqError]
) -> None:
    found = await appended(reply)
    assert type(found) is kind
    assert "appended" not in str(found)


async def test_failure_of_which_nobody_knows_is_not_called_an_append() -> None:
    found = await appended(driver.ResponseError("ERR something"))
    assert type(found) is Uncertain
    assert "ERR something" in str(found)
    assert "appended, but" not in str(found)


async def test_append_that_too_few_replicas_confirmed_is_uncertain_and_one_that_was_not_made_is_not() -> None:
    found = await appended([[7]])
    assert type(found) is Uncertain
    assert "appended, but 0 of 1 replicas" in str(found)
    assert await appended([-4]) == -4
