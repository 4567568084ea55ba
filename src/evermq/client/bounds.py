"""Numbers that a producer or consumer is given: refused where they are made, since with some it would do nothing."""

from __future__ import annotations

from evermq.errors import Misconfigured

__all__ = ["check_whole"]


def check_whole(least: int, /, **given: int) -> None:
    """Raises Misconfigured for the first that is no whole number from `least` on."""
    for name, value in given.items():
        if not isinstance(value, int) or value < least:
            raise Misconfigured(f"{name} = {value!r}: give a whole number from {least} on")
