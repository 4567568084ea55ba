"""A server that takes over: whether it keeps what appends were promised."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from evermq.adapters.redis.promise import Promise
from evermq.adapters.redis.settings import Settings
from evermq.errors import EvermqError, Unavailable, Uncertain
from evermq.traits import Durable

STRONG = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


class Told:
    """A server of these settings."""

    def __init__(self, where: str = "there:6379", **settings: str) -> None:
        self.where = where
        self.settings = {**STRONG, **{name.replace("_", "-"): value for name, value in settings.items()}}
        self.error: EvermqError | None = None

    async def tell(self, *values: str) -> bytes | list[bytes]:
        if self.error:
            raise self.error
        if values[0] == "INFO":
            return b"redis_version:7.0.15\r\nrole:master\r\n"
        return [text.encode() for item in self.settings.items() for text in item]


@pytest.mark.parametrize(
    ("setting", "value"), [("appendonly", "no"), ("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru")]
)
async def test_weaker_server_gets_no_append_until_it_is_mended(
    setting: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    time_ms, weak = [0], Told(**{setting: value})
    clock = SimpleNamespace(monotonic_ms=lambda: time_ms[0])
    promise = Promise(Durable.DISK, [], clock=clock)
    with caplog.at_level(logging.WARNING, "evermq.redis"):
        for _ in range(3):
            with pytest.raises(Unavailable, match=setting):
                await promise.check(weak)  # type: ignore[arg-type]
    assert len(caplog.messages) == 1
    weak.settings[setting] = STRONG[setting]
    time_ms[0] = 60_000
    await promise.check(weak)  # type: ignore[arg-type]


async def test_server_that_keeps_as_much_or_was_looked_at_before_gets_appends() -> None:
    known = Told(appendfsync="no")
    promise = Promise(Durable.PROCESS, [known])  # type: ignore[list-item]
    for server in (known, Told(appendfsync="everysec"), Told()):
        await promise.check(server)  # type: ignore[arg-type]


async def test_claim_sinks_to_what_a_server_keeps_that_is_enough_for_require(caplog: pytest.LogCaptureFixture) -> None:
    promise = Promise(Durable.DISK, [], required=Durable.PROCESS)
    await promise.check(Told("strong:6379"))  # type: ignore[arg-type]
    claimed = [promise.durable]
    with caplog.at_level(logging.WARNING, "evermq.redis"):
        await promise.check(Told(appendfsync="everysec"))  # type: ignore[arg-type]
    assert [*claimed, promise.durable] == [Durable.DISK, Durable.PROCESS]
    assert "no longer disk" in caplog.text
    with pytest.raises(Unavailable, match="less than the process"):
        await promise.check(Told("other:6379", appendonly="no"))  # type: ignore[arg-type]


async def test_server_that_does_not_say_what_it_keeps_was_certainly_sent_nothing() -> None:
    mute = Told()
    mute.error = Uncertain("no answer")
    with pytest.raises(Unavailable, match="no answer"):
        await Promise(Durable.DISK, []).check(mute)  # type: ignore[arg-type]


def test_replicas_are_read_from_what_their_master_says() -> None:
    info = {"slave0": "ip=10.0.0.2,port=6380,state=online,offset=1,lag=0", "slave_repl_offset": "7", "slaves": "x"}
    assert Settings("there:6379", {}, info).replicas == [("10.0.0.2", 6380)]
