"""What an inspection of a configured engine finds.

Every adapter has a module `inspect` with `async def inspect(address: Address) -> Inspection`. It connects, changes
nothing, and does not need the topic to exist; where it does exist its own settings count, else those that it would get.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from evermq.traits import Durable

__all__ = ["Finding", "Inspection", "over_all"]


class Finding(NamedTuple):
    """A setting by the name that its engine gives it, its value, and what to change (empty: well as it is)."""

    setting: str
    value: str
    advice: str = ""


class Inspection(NamedTuple):
    """durable: which loss an acknowledged append to this address survives, as the engine is set up."""

    durable: Durable
    findings: Sequence[Finding]


def over_all(found: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The settings of several servers or queues as those of one: where they differ, every value."""
    values: dict[str, set[str]] = {}
    for each in found:
        for name, value in each.items():
            values.setdefault(name, set()).add(value)
    return {name: ", ".join(sorted(some)) for name, some in values.items()}
