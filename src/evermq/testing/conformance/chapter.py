"""Checks, gathered in one chapter a verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from evermq.testing.conformance.bench import Bench
from evermq.testing.conformance.needs import Need, meets
from evermq.testing.conformance.subject import Subject

__all__ = ["Chapter", "Check"]

Act = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the port, as a coroutine that fails with an AssertionError or with what the queue raises."""

    verb: str
    name: str
    act: Act
    needs: tuple[Need, ...]

    def is_for(self, subject: Subject) -> bool:
        """Whether the subject promises everything that this check is about."""
        return all(meets(subject, need) for need in self.needs)

    def __str__(self) -> str:
        return f"{self.verb}-{self.name}"


@dataclass(slots=True)
class Chapter:
    """The checks of one verb; used as a decorator with what a check needs."""

    verb: str
    checks: list[Check] = field(default_factory=list)

    def __call__(self, *needs: Need) -> Callable[[Act], Act]:
        def add(act: Act) -> Act:
            self.checks.append(Check(self.verb, getattr(act, "__name__", "?"), act, needs))
            return act

        return add
