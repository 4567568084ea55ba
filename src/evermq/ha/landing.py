"""No refusal of a single queue is final here: for what was acknowledged, and what takes a number that was given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from evermq.errors import EvermqError, Partial, Rejected
from evermq.ha.outcomes import Offer, Outcome, Outcomes, of_halves, of_message, place, settled
from evermq.message import Message
from evermq.position import Position

__all__ = ["land"]


async def land(messages: Sequence[Message], order: Sequence[str], offer: Offer) -> Sequence[Position]:
    """Offer a batch to one queue after the other. offer: to the one of this key.

    A message is Rejected only where all of them refuse it, each for its own sake; a queue that may not be used, or is
    not there, is Unavailable. So is a message as long as one of them is, whatever the others say."""
    return await place(Outcomes(messages, asks_all=True), order, partial(_apart, offer))


async def _apart(offer: Offer, key: str, messages: Sequence[Message]) -> Sequence[Position]:
    """Of a batch that is refused for the sake of one of its messages, only that one is."""
    return settled(await _outcomes(offer, key, messages))


async def _outcomes(offer: Offer, key: str, messages: Sequence[Message]) -> Sequence[Outcome]:
    try:
        return await offer(key, messages)
    except Partial as error:
        return [of_message(outcome) for outcome in error.outcomes]
    except EvermqError as error:
        said = of_message(error)
        if not isinstance(said, Rejected) or len(messages) == 1:
            return [said] * len(messages)
    return await of_halves(partial(_outcomes, offer, key), messages)
