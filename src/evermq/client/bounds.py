"""What a producer or consumer is given: refused where it is made, since with some of it it would do nothing."""

from __future__ import annotations

from reprlib import repr as short

from evermq.errors import Misconfigured

__all__ = ["check_function", "check_kind", "check_queue", "check_whole"]


def check_whole(least: int, /, **given: int) -> None:
    """Raises Misconfigured for the first that is no whole number from `least` on."""
    for name, value in given.items():
        if not isinstance(value, int) or value < least:
            raise Misconfigured(f"{name} = {value!r}: give a whole number from {least} on")


def check_queue(verb: str, /, **given: object) -> None:
    """Raises Misconfigured for the first that is no queue: it has no such verb."""
    for name, value in given.items():
        if not hasattr(value, "name") or not callable(getattr(value, verb, None)):
            raise Misconfigured(f"{name} = {short(value)}: give a queue, as `await evermq.open(url)` returns it")


def check_function(of: str, /, **given: object) -> None:
    """Raises Misconfigured for the first that is neither a function nor None."""
    for name, value in given.items():
        if value is not None and not callable(value):
            raise Misconfigured(f"{name} = {short(value)}: give a function of {of}")


def check_kind(kind: type, /, **given: object) -> None:
    """Raises Misconfigured for the first that is none of this kind."""
    for name, value in given.items():
        if not isinstance(value, kind):
            raise Misconfigured(f"{name} = {short(value)}: give a {kind.__name__}")
