"""Half messages of one topic: prepared, settled by their sender, or by whoever answers when the broker asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from evermq.adapters.rocketmq.content import fill, message_of
from evermq.adapters.rocketmq.protocol import (
    COMMIT,
    ROLLBACK,
    SOURCE_CLIENT,
    SOURCE_SERVER_CHECK,
    TRANSACTION,
    service,
)
from evermq.adapters.rocketmq.sender import send
from evermq.adapters.rocketmq.session import Session, sends
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError, NoSuchTopic, Rejected, Unavailable, Uncertain
from evermq.half import Check, Decision
from evermq.message import Message

if TYPE_CHECKING:
    from evermq.adapters.rocketmq.place import RocketPlace
    from evermq.adapters.rocketmq.topic import Topic

__all__ = ["RocketHalf", "RocketHalves"]

_AGAIN_MS = 500  # after a session that broke
_SAYS = {Decision.COMMIT: COMMIT, Decision.ROLL_BACK: ROLLBACK}
_log = logging.getLogger("evermq.rocketmq")
_log.addHandler(logging.NullHandler())


class RocketHalf(NamedTuple):
    """See `Half`. id and transaction: as RocketMQ knows them."""

    message: Message
    id: str
    transaction: str
    halves: RocketHalves

    async def commit(self) -> None:
        await self.halves.end(self.id, self.transaction, Decision.COMMIT)

    async def roll_back(self) -> None:
        await self.halves.end(self.id, self.transaction, Decision.ROLL_BACK)


class RocketHalves:
    """See `Halves`. fits: raises for a message that the queue does not take."""

    def __init__(self, place: RocketPlace, topic: Topic, check: Check, fits: Callable[[Message], None]) -> None:
        self._place, self._topic = place, topic
        self._check, self._fits = check, fits
        self._session = Session(place.proxy, sends(topic.wire_name), f"answer for {topic.name}", place.clock)
        self._listening: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        self._ending = Ending()

    async def open(self) -> None:
        """Let the broker know that there is somebody to ask. Raises Unavailable, Denied."""
        await self._session.open()
        self._listening = asyncio.create_task(self._listen())

    async def prepare(self, message: Message) -> RocketHalf:
        if self._closed:
            raise Closed(f"the halves of {self._topic.name} were closed: open them again")
        self._fits(message)
        request = service.SendMessageRequest()
        wire = request.messages.add()
        fill(wire, message)
        wire.topic.name = self._topic.wire_name
        system = wire.system_properties
        system.message_type, system.body_encoding = TRANSACTION, 1
        system.born_timestamp.FromMilliseconds(self._place.clock.now_ms())  # from which the broker counts its patience
        system.orphaned_transaction_recovery_duration.FromMilliseconds(self._place.options.check_after_ms)
        try:
            entry = await send(self._place.proxy, request, self._topic.name)
        except NoSuchTopic:
            if await self._place.brokers_have(self._topic.name):
                raise Unavailable(f"the proxy does not know topic {self._topic.name} yet") from None
            raise
        except EvermqError:
            raise
        except Exception as error:  # one that nobody listed
            raise Uncertain(f"perhaps stored: {error!r}: the broker will ask") from error
        return RocketHalf(message, entry.message_id, entry.transaction_id, self)

    async def end(self, id: str, transaction: str, decision: Decision, *, asked: bool = False) -> None:
        """Say what became of it. The proxy passes it on and waits for no answer: what is lost there is asked again."""
        request = service.EndTransactionRequest(message_id=id, transaction_id=transaction, resolution=_SAYS[decision])
        request.topic.name = self._topic.wire_name
        request.source = SOURCE_SERVER_CHECK if asked else SOURCE_CLIENT
        doing = f"{decision.value} message {id} of {self._topic.name}"
        try:
            await self._place.proxy.ask("EndTransaction", request, doing, client=self._session.client)
        except Rejected as error:  # the proxy forgot it, which it does after a while and when it was told before
            raise Uncertain(f"{error}: the broker will ask") from None
        except EvermqError:
            raise
        except Exception as error:  # one that nobody listed
            raise Uncertain(f"{doing}: {error!r}: the broker will ask") from error

    async def _listen(self) -> None:
        while True:
            try:
                said = await self._session.heard()
            except Exception as error:  # whatever it is, somebody has to go on answering
                if not isinstance(error, EvermqError):
                    _log.warning("the session of the halves of %s broke: %r", self._topic.name, error)
                await self._place.clock.sleep(_AGAIN_MS)
                continue
            if said.HasField("recover_orphaned_transaction_command"):
                self._answer(said.recover_orphaned_transaction_command)

    def _answer(self, command: Any) -> None:
        transaction = command.transaction_id
        if transaction not in self._answers:  # else it takes longer than the broker's patience
            task = self._answers[transaction] = asyncio.create_task(self._decide(command))
            task.add_done_callback(lambda _: self._answers.pop(transaction, None))

    async def _decide(self, command: Any) -> None:
        id = command.message.system_properties.message_id
        try:
            decision = await self._check(message_of(command.message, sure=True))
            if decision is not Decision.UNKNOWN:
                await self.end(id, command.transaction_id, decision, asked=True)
        except Exception as error:  # of the program's check or of the way to the proxy: the broker asks again
            _log.warning("no answer for half message %s of %s: %r", id, self._topic.name, error)

    async def close(self) -> None:
        """See `Halves.close`."""
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        tasks = [*self._answers.values(), *([self._listening] if self._listening else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._session.close()
