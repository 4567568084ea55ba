"""What becomes of half messages when something fails in a way that nobody listed, over a broker that is played."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from evermq.adapters.rocketmq.halves import RocketHalves
from evermq.adapters.rocketmq.options import RocketOptions
from evermq.adapters.rocketmq.protocol import COMMIT, SOURCE_CLIENT, SOURCE_SERVER_CHECK, definition, service
from evermq.adapters.rocketmq.proxy import Proxy
from evermq.adapters.rocketmq.topic import Topic
from evermq.clock import SYSTEM
from evermq.errors import Uncertain
from evermq.half import Check, Decision
from evermq.message import Message, MessageFactory

message = MessageFactory()
OK = definition.Code.Value("OK")
LIMIT_S = 20


class Broker:
    """Keeps half messages, and asks about those that it has heard nothing of; a proxy and a session in one.

    fails: the calls that end with an error which nobody listed; after: what is asked was done all the same."""

    where, turn, timeout_s, check = "here", 0, 5.0, staticmethod(Proxy.check)

    def __init__(self) -> None:
        self.halves: dict[str, Any] = {}
        self.settled: list[tuple[str, str, int]] = []  # body, commit or roll back, who said so
        self.fails: dict[str, int] = {}
        self.after = False
        self._questions: asyncio.Queue[Any] = asyncio.Queue()

    async def ask(self, call: str, request: Any, doing: str, *, client: str = "") -> Any:
        fails = self.fails.get(call, 0) > 0
        self.fails[call] = self.fails.get(call, 0) - 1
        if fails and not self.after:
            raise KeyError("nobody listed this")
        answer = {"SendMessage": self._store, "EndTransaction": self._end}.get(call, lambda _: None)(request)
        if fails:
            raise KeyError("nobody listed this")
        return answer

    def wonder(self) -> None:
        """The broker's patience is over."""
        for id, wire in self.halves.items():
            command = service.TelemetryCommand()
            command.recover_orphaned_transaction_command.message.CopyFrom(wire)
            command.recover_orphaned_transaction_command.transaction_id = f"t-{id}"
            self._questions.put_nowait(command)

    def telemetry(self, client: str) -> Any:
        self._questions.put_nowait(service.TelemetryCommand(status=definition.Status(code=OK)))

        async def write(said: Any) -> None: ...

        return SimpleNamespace(write=write, read=self._questions.get, done=lambda: False, cancel=lambda: None)

    def _store(self, request: Any) -> Any:
        [wire] = request.messages
        id = wire.system_properties.message_id
        self.halves[id] = wire
        entry = service.SendResultEntry(message_id=id, transaction_id=f"t-{id}", status=definition.Status(code=OK))
        return service.SendMessageResponse(entries=[entry])

    def _end(self, request: Any) -> None:
        assert request.transaction_id == f"t-{request.message_id}"
        if wire := self.halves.pop(request.message_id, None):
            word = "commit" if request.resolution == COMMIT else "roll back"
            self.settled.append((wire.body.decode(), word, request.source))


@asynccontextmanager
async def opened(broker: Broker, check: Check) -> AsyncIterator[RocketHalves]:
    place: Any = SimpleNamespace(proxy=broker, options=RocketOptions(), clock=SYSTEM)
    halves = RocketHalves(place, Topic("orders", "transaction", {"broker-a": 1}), check, lambda _: None)
    await halves.open()
    yield halves
    await halves.close()


def checked(decision: Decision) -> tuple[Check, list[Message]]:
    asked: list[Message] = []

    async def check(half: Message) -> Decision:
        asked.append(half)
        return decision

    return check, asked


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not is_so():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("decision", [Decision.COMMIT, Decision.ROLL_BACK])
async def test_half_whose_word_failed_is_kept_and_settled_when_the_broker_asks(decision: Decision) -> None:
    broker = Broker()
    check, asked = checked(decision)
    async with opened(broker, check) as halves:
        half = await halves.prepare(message("paid", key="k"))
        broker.fails["EndTransaction"] = 1
        with pytest.raises(Uncertain, match="nobody listed this"):
            await (half.commit() if decision is Decision.COMMIT else half.roll_back())
        assert (len(broker.halves), broker.settled) == (1, [])
        broker.wonder()
        await until(lambda: not broker.halves)
    assert asked == [half.message]
    assert broker.settled == [("paid", decision.value, SOURCE_SERVER_CHECK)]


async def test_word_that_was_heard_although_it_failed_stands() -> None:
    broker = Broker()
    check, asked = checked(Decision.ROLL_BACK)
    async with opened(broker, check) as halves:
        half = await halves.prepare(message("paid"))
        broker.fails["EndTransaction"], broker.after = 1, True
        with pytest.raises(Uncertain, match="nobody listed this"):
            await half.commit()
        broker.wonder()
    assert broker.settled == [("paid", "commit", SOURCE_CLIENT)]
    assert not asked


async def test_word_that_failed_may_be_said_again() -> None:
    broker = Broker()
    check, _ = checked(Decision.ROLL_BACK)
    async with opened(broker, check) as halves:
        half = await halves.prepare(message("paid"))
        broker.fails["EndTransaction"] = 1
        with pytest.raises(Uncertain):
            await half.commit()
        await half.commit()
    assert broker.settled == [("paid", "commit", SOURCE_CLIENT)]


async def test_half_that_is_perhaps_stored_is_uncertain_and_asked_after() -> None:
    broker = Broker()
    check, asked = checked(Decision.ROLL_BACK)
    sent = message("paid")
    async with opened(broker, check) as halves:
        broker.fails["SendMessage"], broker.after = 1, True
        with pytest.raises(Uncertain, match="nobody listed this"):
            await halves.prepare(sent)
        broker.wonder()
        await until(lambda: not broker.halves)
    assert asked == [sent]
    assert broker.settled == [("paid", "roll back", SOURCE_SERVER_CHECK)]


async def test_answer_that_fails_is_logged_and_the_half_is_kept_until_the_broker_asks_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Broker()
    check, asked = checked(Decision.COMMIT)
    async with opened(broker, check) as halves:
        await halves.prepare(message("paid"))
        broker.fails["EndTransaction"] = 1
        broker.wonder()
        await until(lambda: "nobody listed this" in caplog.text)
        assert (len(broker.halves), broker.settled) == (1, [])
        broker.wonder()
        await until(lambda: not broker.halves)
    assert len(asked) == 2
    assert broker.settled == [("paid", "commit", SOURCE_SERVER_CHECK)]


async def test_question_that_nobody_can_read_is_logged_and_others_are_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Broker()
    check, asked = checked(Decision.COMMIT)
    async with opened(broker, check) as halves:
        await halves.prepare(message("odd"))
        [wire] = broker.halves.values()
        wire.user_properties["evermq-more"] = "no JSON"
        await halves.prepare(message("paid"))
        with caplog.at_level(logging.WARNING, "evermq.rocketmq"):
            broker.wonder()
            await until(lambda: "no answer for half message" in caplog.text and bool(broker.settled))
    assert [each.body for each in asked] == [b"paid"]
    assert broker.settled == [("paid", "commit", SOURCE_SERVER_CHECK)]
    assert len(broker.halves) == 1
