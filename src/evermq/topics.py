"""Names of topics and groups, how many lanes, and the topics that evermq makes beside them."""

from __future__ import annotations

import re

from evermq.errors import Misconfigured

__all__ = ["check_entry", "check_group", "check_lanes", "check_topic", "dead_topic"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def check_topic(name: str) -> str:
    """Return the name. Raises Misconfigured where it is no name for a topic."""
    return _check("topic", name)


def check_group(name: str) -> str:
    """Return the name. Raises Misconfigured where it is no name for a group."""
    return _check("group", name)


def check_lanes(lanes: int, most: int = 0) -> int:
    """Return the number. Raises Misconfigured where it is none, below one, or over `most` (0: no limit)."""
    if type(lanes) is not int or lanes < 1 or (most and lanes > most):
        raise Misconfigured(f"lanes = {lanes!r}: give {f'1 to {most}' if most else '1 at least'}, as a whole number")
    return lanes


def check_entry(name: str) -> str:
    """Return the name. Raises Misconfigured where it is no name for a member or a lease of a coordinator."""
    return _check("entry", name)


def dead_topic(topic: str, group: str) -> str:
    """Where the dead letters of a group go."""
    return f"{topic}.{group}.dead"


def _check(kind: str, name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Misconfigured(
            f"{kind} {name!r}: use 1 to 200 letters, digits, '.', '_' and '-', and do not begin with a dot"
        )
    return name
