"""What is asked of a group's coordinator when the place is closed, over a client that is played."""

import asyncio
import gc
import logging
from types import SimpleNamespace
from typing import Any

import aiokafka.errors as driver
import pytest
from confluent_kafka import KafkaError

from evermq.adapters.kafka import offsets as module
from evermq.adapters.kafka.generation import Generation
from evermq.adapters.kafka.offset_commit import OffsetCommit
from evermq.adapters.kafka.offsets import Committed, Offsets
from evermq.errors import Closed, Unavailable


class Client:
    """Answers when it may; like the driver's, it does nothing more for who asks it to look after it was closed."""

    def __init__(self) -> None:
        self.may_connect = asyncio.Event()
        self.connected = self.sent = self.looked = 0
        self.answer: Any = SimpleNamespace(error_code=0, topics=[])

    async def coordinator_lookup(self, kind: object, group: str) -> int:
        await self.may_connect.wait()
        self.connected += 1
        return 1

    async def send(self, node: int, request: object, *, group: object) -> Any:
        self.sent += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def force_metadata_update(self) -> None:
        self.looked += 1


async def asked(offsets: Offsets) -> asyncio.Task[Any]:
    asking = asyncio.create_task(offsets.committed("billing", "orders", 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return asking


async def test_connection_that_is_being_made_is_not_lost_where_its_caller_is_given_up() -> None:
    client: Any = Client()
    offsets = Offsets(client)
    asking = await asked(offsets)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    closing = asyncio.create_task(offsets.close())
    await asyncio.sleep(0)
    assert not closing.done()
    client.may_connect.set()
    await closing
    assert client.connected == 1


async def test_step_that_fails_after_its_caller_was_given_up_is_no_error_of_the_program() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))

    class Away(Client):
        async def coordinator_lookup(self, kind: object, group: str) -> int:
            await self.may_connect.wait()
            raise driver.NodeNotReadyError

    client: Any = Away()
    offsets = Offsets(client)
    asking = await asked(offsets)
    asking.cancel()
    await asyncio.wait([asking])
    client.may_connect.set()
    await offsets.close()
    del asking  # it keeps what it waited for
    gc.collect()
    assert not told


async def test_coordinator_that_moved_is_looked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nothing would be committed until the process begins anew."""
    monkeypatch.setattr(module, "_PAUSE_S", 0)

    class Moved(Client):
        async def coordinator_lookup(self, kind: object, group: str) -> int:
            return await super().coordinator_lookup(kind, group) + self.connected

        async def send(self, node: int, request: object, *, group: object) -> Any:
            code = 0 if node == self.connected + 1 and self.connected > 1 else KafkaError.NOT_COORDINATOR
            self.sent += 1
            return SimpleNamespace(error_code=code, topics=[])

    client: Any = Moved()
    client.may_connect.set()
    async with asyncio.timeout(10):
        assert await Offsets(client).committed("billing", "orders", 1) == {}
    assert (client.connected, client.sent) == (2, 2)


async def test_who_is_to_ask_again_when_the_place_is_closed_is_told_and_asks_nothing() -> None:
    client: Any = Client()
    client.answer = driver.NodeNotReadyError()
    offsets = Offsets(client)
    asking = await asked(offsets)
    closing = asyncio.create_task(offsets.close())
    await asyncio.sleep(0)
    client.may_connect.set()
    await closing
    sent = client.sent
    with pytest.raises(Closed):
        await asking
    with pytest.raises(Closed):
        await offsets.committed("billing", "orders", 1)
    assert client.sent == sent
    assert not client.looked


@pytest.mark.parametrize(
    ("code", "is_heard"),
    [(0, True), (KafkaError.UNKNOWN_MEMBER_ID, True), (KafkaError.GROUP_AUTHORIZATION_FAILED, False)],
)
async def test_member_leaves_whatever_the_coordinator_says(
    code: int, is_heard: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evermq.kafka")
    client: Any = Client()
    client.may_connect.set()
    client.answer = SimpleNamespace(error_code=code)
    await Offsets(client).leave("billing", "member-1")
    assert client.sent == 1
    assert ("nobody heard" in caplog.text) is not is_heard


@pytest.mark.parametrize("newest", [3, 9, 10])
def test_member_commits_in_the_newest_version_that_its_broker_knows(newest: int) -> None:
    request = OffsetCommit("billing", Generation(7, "member-1"), "orders", {2: (40, "e1:x\0"), 3: (41, "")})
    built = request.prepare({OffsetCommit.API_KEY: (2, newest)})
    assert min(newest, 9) == built.API_VERSION
    encoded = built.encode()
    for each in (b"billing", b"member-1", b"orders", (40).to_bytes(8), b"e1:x\0", (41).to_bytes(8)):
        assert each in encoded


async def test_commit_of_a_member_does_not_wait_long_for_a_coordinator_that_is_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind it waits what has to be said of lanes that are handed over."""
    monkeypatch.setattr(module, "_COMMIT_MS", 10)
    client: Any = Client()
    offsets = Offsets(client)
    with pytest.raises(Unavailable, match="billing"):
        await offsets.commit_as(Generation(7, "member-1"), "billing", "orders", {0: Committed(1, "")})
    client.may_connect.set()
    await offsets.close()


async def test_commit_that_was_given_up_while_its_coordinator_was_looked_for_is_not_sent_behind_a_newer_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The group would go back, and with the next owner of its lanes handle again what it had handled."""
    monkeypatch.setattr(module, "_COMMIT_MS", 10)

    class OneIsFrozen(Client):
        """The broker that is asked first for the coordinator answers when it may, others at once."""

        def __init__(self) -> None:
            super().__init__()
            self.lookups = 0
            self.requests: list[object] = []

        async def coordinator_lookup(self, kind: object, group: str) -> int:
            self.lookups += 1
            return await super().coordinator_lookup(kind, group) if self.lookups == 1 else 1

        async def send(self, node: int, request: object, *, group: object) -> Any:
            self.requests.append(request)
            return await super().send(node, request, group=group)

    client: Any = OneIsFrozen()
    offsets = Offsets(client)
    with pytest.raises(Unavailable):
        await offsets.commit_as(Generation(7, "member-1"), "billing", "orders", {0: Committed(1, "")})
    monkeypatch.setattr(module, "_COMMIT_MS", 10_000)
    assert not await offsets.commit_as(Generation(7, "member-1"), "billing", "orders", {0: Committed(2, "")})
    client.may_connect.set()
    await offsets.close()
    built = [each.prepare({OffsetCommit.API_KEY: (2, 9)}).encode() for each in client.requests]
    assert [(2).to_bytes(8) in each for each in built] == [True]
