"""What producers and consumers of a run do with every batch: write down what they try, then what came of it.

Every process of a run ends with the conductor that started it, however that ends.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import select
import signal
import time
from collections.abc import Sequence

from evermq.client.producer import Producer
from evermq.errors import EvermqError, Partial, Rejected, Unavailable
from evermq.message import Message
from evermq.numbers import FLAGGED
from evermq.port import Delivery
from evermq.position import Position
from evermq.testing.history import Event, Recorder, digest

__all__ = ["delivered", "end_with_conductor", "handle", "record_switch", "send", "tell"]


_PR_SET_PDEATHSIG = 1  # of sys/prctl.h


def end_with_conductor() -> None:
    """From now on the kernel kills this process when the one that started it is gone, even one that is stopped or
    hangs. Standard input is the conductor's: that it is closed says that the conductor was gone before."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    conductor = select.poll()
    conductor.register(0, 0)
    if conductor.poll(0):
        os.kill(os.getpid(), signal.SIGKILL)


def tell(**numbers: object) -> None:
    """Report to the conductor."""
    print(json.dumps(numbers), flush=True)


class _SwitchLog(logging.Handler):
    def __init__(self, name: str, recorder: Recorder) -> None:
        super().__init__(logging.INFO)
        self._process, self._recorder = name, recorder

    def emit(self, record: logging.LogRecord) -> None:
        said = vars(record)
        if "scope" in said:
            detail = f"{said['scope']} is {said['state']}"
            self._recorder.record([Event(time.monotonic_ns(), "switch", proc=self._process, detail=detail)])


def record_switch(name: str, recorder: Recorder) -> None:
    """From now on, where the appends of this process begin is written down whenever it changes."""
    log = logging.getLogger("evermq.switch")
    log.setLevel(logging.INFO)
    log.addHandler(_SwitchLog(name, recorder))


async def send(sender: Producer, messages: list[Message], name: str, kseqs: dict[str, int], recorder: Recorder) -> str:
    """Send a batch of the producer `name`. kseqs: for each id, the message's number in its key. Returns the child that
    took its last message, empty where none did."""
    t = time.monotonic_ns()
    recorder.record([_invoked(t, message, name, kseqs[message.id]) for message in messages])
    try:
        outcomes: Sequence[Position | EvermqError] = await sender.send_many(messages)
    except Partial as error:
        outcomes = error.outcomes
    except EvermqError as error:
        outcomes = [error] * len(messages)
    t = time.monotonic_ns()
    recorder.record([_outcome(t, m.id, o) for m, o in zip(messages, outcomes, strict=True)])
    last = outcomes[-1]
    return "/".join(last.via) if isinstance(last, Position) else ""


def _invoked(t: int, message: Message, name: str, kseq: int) -> Event:
    key = (message.key or b"").decode()
    return Event(t, "send_invoke", id=message.id, key=key, kseq=kseq, producer=name, sha=digest(message.body))


def _outcome(t: int, id: str, outcome: Position | EvermqError) -> Event:
    if isinstance(outcome, Position):
        return Event(t, "send_ok", id=id, via="/".join(outcome.via))
    kind = "send_fail" if isinstance(outcome, Unavailable | Rejected) else "send_unknown"
    return Event(t, kind, id=id, detail=str(outcome))


def handle(deliveries: Sequence[Delivery], group: str, recorder: Recorder) -> None:
    """The effect of a delivery is that it is written down."""
    found = delivered(deliveries, group)
    effects = [Event(each.t, "handler_ok", id=each.id, group=group, via=each.via) for each in found]
    recorder.record([event for both in zip(found, effects, strict=True) for event in both])


def delivered(deliveries: Sequence[Delivery], group: str) -> list[Event]:
    """What a consumer was handed, with what it is flagged with."""
    t = time.monotonic_ns()
    events = []
    for each in deliveries:
        message, via = each.message, "/".join(each.position.via)
        sha, why = digest(message.body), message.headers.get(FLAGGED, "")
        events.append(
            Event(t, "deliver", id=message.id, group=group, sha=sha, attempt=each.attempt, via=via, detail=why)
        )
    return events
