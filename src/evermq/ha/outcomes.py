"""What became of each message of a batch while it is offered to one queue after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from evermq.errors import Denied, EvermqError, NoSuchTopic, Partial, Rejected, Unavailable, Uncertain
from evermq.message import Message
from evermq.numbers import chain_of
from evermq.position import Position, Via

__all__ = ["Offer", "Outcome", "Outcomes", "of_halves", "of_message", "place", "settled"]

Outcome = Position | EvermqError
Offer = Callable[[str, Sequence[Message]], Awaitable[Sequence[Position]]]


class Outcomes:
    """The batch, what is still to be placed of it, and the worst that was heard of each message that is not.

    Uncertain, heard once, stays: whatever a later queue says, an earlier one may have stored it. A refusal is final
    only from the first queue that was heard; after another one was Unavailable that one may yet take the message.
    asks_all: it is final only from all of them.
    """

    def __init__(self, messages: Sequence[Message], *, asks_all: bool = False) -> None:
        self._messages = messages
        self._asks_all = asks_all
        self._placed: list[Position | EvermqError | None] = [None] * len(messages)
        self._heard: dict[int, EvermqError] = {}
        self._rows: Sequence[int] = range(len(messages))

    @property
    def rest(self) -> Sequence[Message]:
        """What no queue has acknowledged or refused for ever."""
        if len(self._rows) == len(self._messages):
            return self._messages
        return [self._messages[row] for row in self._rows]

    def placed(self, child: str, positions: Sequence[Position]) -> Sequence[Position] | None:
        """The rest was appended; returns the answer, if that settles the whole batch at once."""
        via = Via(child, positions)
        if len(self._rows) == len(self._messages):
            return via
        for row, position in zip(self._rows, via, strict=True):
            self._placed[row] = position
        self._rows = ()
        return None

    def failed(self, child: str | None, error: EvermqError) -> None:
        """A queue did not take all of the rest; `child` is None where its positions name it already."""
        outcomes: Sequence[Position | EvermqError] = [error] * len(self._rows)
        if isinstance(error, Partial):
            outcomes = error.outcomes
        rest = []
        for row, outcome in zip(self._rows, outcomes, strict=True):
            if isinstance(outcome, Position):
                self._placed[row] = outcome.under(child) if child else outcome
            elif isinstance(outcome, Rejected) and not self._asks_all and row not in self._heard:
                self._placed[row] = outcome
            else:
                self._hear(row, outcome)
                rest.append(row)
        self._rows = rest

    def result(self) -> Sequence[Position]:
        """The positions; or the error that says the same of all, or Partial, is raised."""
        for row in self._rows:
            self._placed[row] = self._heard.get(row) or Unavailable("no queue took it")
        return settled([outcome for outcome in self._placed if outcome is not None])

    def _hear(self, row: int, error: EvermqError) -> None:
        before = self._heard.get(row)
        if isinstance(before, Uncertain) or (before and isinstance(error, Rejected)):
            return
        known = isinstance(error, Unavailable | Uncertain | Rejected)
        self._heard[row] = error if known else Uncertain(f"perhaps stored: {error!r}")


async def place(outcomes: Outcomes, order: Sequence[str], offer: Offer) -> Sequence[Position]:
    """Offer a batch to one queue after the other; offer: to the one of this key."""
    for key in order:
        try:
            done = outcomes.placed(key, await offer(key, outcomes.rest))
        except EvermqError as error:
            outcomes.failed(key, error)
        else:
            if done is not None:
                return done
        if not outcomes.rest:
            break
    return outcomes.result()


async def of_halves(
    append: Callable[[Sequence[Message]], Awaitable[Sequence[Outcome]]], messages: Sequence[Message]
) -> Sequence[Outcome]:
    """What becomes of messages of which a queue refused all for the sake of one, and did not say which is meant. What
    is behind one that failed is not tried: that may yet be taken, here or by another queue, and must not come late."""
    half = len(messages) // 2
    first = await append(messages[:half])
    failed = {chain_of(m) for m, outcome in zip(messages, first, strict=False) if isinstance(outcome, EvermqError)}
    failed.discard(None)
    rest = [message for message in messages[half:] if chain_of(message) not in failed]
    second = iter(await append(rest) if rest else ())
    behind = Unavailable("what is before it of its key was not appended")
    return [*first, *(behind if chain_of(m) in failed else next(second) for m in messages[half:])]


def of_message(outcome: Outcome) -> Outcome:
    """What is said of a message that was acknowledged before. A queue that may not be used, or is not there, says so of
    itself and not of the message, and may be mended: it is Unavailable."""
    if isinstance(outcome, Denied | NoSuchTopic):
        return Unavailable(f"refused whatever it is given: {outcome}")
    return outcome


def settled(outcomes: Sequence[Position | EvermqError]) -> Sequence[Position]:
    """The positions of a batch; or the error that says the same of all, or Partial, is raised."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, EvermqError)]
    if not errors:
        return [outcome for outcome in outcomes if isinstance(outcome, Position)]
    if len(errors) == len(outcomes) and len({type(error) for error in errors}) == 1:
        raise errors[0]
    raise Partial(outcomes)
