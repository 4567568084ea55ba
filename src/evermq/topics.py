"""Names of topics and groups, and the topics that evermq makes beside them."""

from __future__ import annotations

import re

from evermq.errors import Misconfigured

__all__ = ["check_entry", "check_group", "check_topic", "dead_topic"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def check_topic(name: str) -> str:
    """Return the name. Raises Misconfigured where it is no name for a topic."""
    return _check("topic", name)


def check_group(name: str) -> str:
    """Return the name. Raises Misconfigured where it is no name for a group."""
    return _check("group", name)


def check_entry(name: str) -> str:
    """Return the name. Raises Misconfigured where it is no name for a member or a lease of a coordinator."""
    return _check("entry", name)


def dead_topic(topic: str, group: str) -> str:
    """Where the dead letters of a group go."""
    return f"{topic}.{group}.dead"


def _check(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Misconfigured(
            f"{kind} {name!r}: use 1 to 200 letters, digits, '.', '_' and '-', and do not begin with a dot"
        )
    return name
