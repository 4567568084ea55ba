"""What is said at start of brokers that are old or keep little, or that cannot be seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from evermq.adapters.rocketmq.admin import Admin
from evermq.adapters.rocketmq.brokers import judge
from evermq.adapters.rocketmq.login import Login
from evermq.errors import Denied, EvermqError, Misconfigured, Unavailable, Unsupported
from evermq.traits import Durable

SAFE = {"flushDiskType": "SYNC_FLUSH", "brokerRole": "ASYNC_MASTER", "popConsumerKVServiceEnable": "true"}
LATE = {"flushDiskType": "ASYNC_FLUSH", "brokerRole": "ASYNC_MASTER"}


class Brokers(Admin):
    """An admin whose brokers have these settings, or whose question ends with this error."""

    def __init__(self, found: Mapping[str, Mapping[str, str]] | EvermqError, version: str | EvermqError = "") -> None:
        super().__init__([("127.0.0.1", 1)], Login(), 50)
        self._found, self._version = found, version

    async def versions(self) -> dict[str, str]:
        if isinstance(self._version, EvermqError):
            raise self._version
        return {"broker-a": self._version}

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


@pytest.mark.parametrize("setting", [{"popConsumerKVServiceEnable": "false"}, {}])
async def test_broker_that_may_keep_a_message_from_a_group_is_warned_of(
    setting: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    found = {name: value for name, value in SAFE.items() if name != "popConsumerKVServiceEnable"}
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await judge(Brokers({"broker-a": {**found, **setting}}), Durable.DISK, "here") == Durable.DISK
    said = setting.get("popConsumerKVServiceEnable", "unknown")
    assert f"broker-a: popConsumerKVServiceEnable = {said}: make it true" in caplog.text


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


@pytest.mark.parametrize("said", ["V4_9_8", "V4_9_8_SNAPSHOT", "V3_5_8"])
async def test_broker_that_is_too_old_is_refused_with_its_version_and_the_least_one(said: str) -> None:
    with pytest.raises(Unsupported, match=rf"broker-a is {said[1]}\.{said[3]}\.8: RocketMQ 5\.0 or later"):
        await judge(Brokers({"broker-a": SAFE}, said), Durable.MEMORY, "here")


@pytest.mark.parametrize("said", ["V5_3_2", "V5_3_3"])
async def test_version_that_loses_topics_is_warned_of(said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await judge(Brokers({"broker-a": SAFE}, said), Durable.MEMORY, "here") == Durable.DISK
    assert f"broker-a is {said[1:].replace('_', '.')}" in caplog.text
    assert "lose typed topics" in caplog.text


@pytest.mark.parametrize(
    "said", ["V5_0_0_SNAPSHOT", "V5_3_1", "V5_4_0", "V6_0_0", "", "HIGHER_VERSION", Denied("no"), Unsupported("no")]
)
async def test_version_that_is_right_or_not_told_is_taken_without_a_word(
    said: str | EvermqError, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await judge(Brokers({"broker-a": SAFE}, said), Durable.DISK, "here") == Durable.DISK
    assert not caplog.records


async def test_brokers_of_which_the_name_servers_know_none_are_taken_for_their_worst(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
        assert await judge(Brokers({}), Durable.MEMORY, "here") == Durable.MEMORY
    assert "know no broker" in caplog.text
    with pytest.raises(Misconfigured, match="know no broker"):
        await judge(Brokers({}), Durable.DISK, "here")
