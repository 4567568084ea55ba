"""What is said at start of brokers that keep little, or whose settings cannot be seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from evermq.adapters.rocketmq.admin import Admin
from evermq.adapters.rocketmq.brokers import judge
from evermq.adapters.rocketmq.login import Login
from evermq.errors import Denied, EvermqError, Misconfigured, Unavailable
from evermq.traits import Durable

SAFE = {"flushDiskType": "SYNC_FLUSH", "brokerRole": "ASYNC_MASTER"}
LATE = {"flushDiskType": "ASYNC_FLUSH", "brokerRole": "ASYNC_MASTER"}


class Brokers(Admin):
    """An admin whose brokers have these settings, or whose question ends with this error."""

    def __init__(self, found: Mapping[str, Mapping[str, str]] | EvermqError) -> None:
        super().__init__([("127.0.0.1", 1)], Login(), 50)
        self._found = found

    async def settings(self) -> dict[str, dict[str, str]]:
        if isinstance(self._found, EvermqError):
            raise self._found
        return {name: dict(each) for name, each in self._found.items()}


async def test_broker_that_flushes_late_is_warned_of_by_name_with_the_setting_to_change(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await judge(Brokers({"broker-a": SAFE, "broker-b": LATE}), Durable.MEMORY, "here") == Durable.PROCESS
    assert "broker-b keeps process only" in caplog.text
    assert "SYNC_FLUSH" in caplog.text
    assert "broker-a" not in caplog.text


async def test_brokers_that_flush_first_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await judge(Brokers({"broker-a": SAFE}), Durable.DISK, "here") == Durable.DISK
    assert not caplog.records


@pytest.mark.parametrize("error", [Unavailable("127.0.0.1:9876: no answer"), Denied("broker-a: no right")])
async def test_settings_that_nobody_could_see_are_warned_of_with_the_reason(
    error: EvermqError, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await judge(Brokers(error), Durable.MEMORY, "here") == Durable.MEMORY
    assert "memory only" in caplog.text
    assert str(error) in caplog.text


async def test_broker_that_keeps_less_than_required_is_refused_with_the_setting_to_change() -> None:
    with pytest.raises(Misconfigured, match="SYNC_FLUSH"):
        await judge(Brokers({"broker-a": LATE}), Durable.DISK, "here")
    with pytest.raises(Misconfigured, match="no answer"):
        await judge(Brokers(Unavailable("no answer")), Durable.PROCESS, "here")
