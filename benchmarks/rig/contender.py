"""Somebody who takes part in a benchmark: ourselves, a peer, or the bare machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from rig.goals import GOALS, Goal

__all__ = ["Case", "Contender", "Measure", "NotThere"]

Measure = Callable[[float], float]


class NotThere(Exception):
    """A contender that cannot take part, and why."""


@dataclass(frozen=True, eq=False)
class Contender:
    """open(): sets everything up and warms it, and gives what measures: measure(seconds) works for about so long and
    returns what was done a second. What is shared between measures stays until the context is left.
    needs: modules that it imports then, each with the package that it comes in.
    """

    label: str
    open: Callable[[], AbstractContextManager[Measure]]
    needs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Case:
    """A goal by its number, and the two who are compared for it."""

    number: str
    subject: Contender
    peer: Contender

    @property
    def goal(self) -> Goal:
        return GOALS[self.number]
