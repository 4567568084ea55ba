"""Why a message cannot be encoded."""

from __future__ import annotations

from collections.abc import Callable

from evermq.errors import Rejected
from evermq.fields import refusal
from evermq.message import Message

__all__ = ["unstorable", "why_not"]


def why_not(message: Message, encode: Callable[[Message], object]) -> Rejected | None:
    """Why a message cannot be encoded, with its field; None where it can be."""
    try:
        encode(message)
    except Exception as error:
        return refusal((message,), error)
    return None


def unstorable(error: Exception) -> Rejected:
    """Where nothing better is known."""
    return Rejected(f"a message cannot be stored: {error}")
