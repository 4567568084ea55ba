"""All checks, and the cases they make with subjects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from evermq.clock import SYSTEM
from evermq.testing.conformance.ack import ack
from evermq.testing.conformance.append import append
from evermq.testing.conformance.backlog import backlog
from evermq.testing.conformance.bench import Bench
from evermq.testing.conformance.chapter import Check
from evermq.testing.conformance.close import close
from evermq.testing.conformance.content import content
from evermq.testing.conformance.delay import delay
from evermq.testing.conformance.groups import groups
from evermq.testing.conformance.order import order
from evermq.testing.conformance.place import place
from evermq.testing.conformance.read import read
from evermq.testing.conformance.release import release
from evermq.testing.conformance.reopen import reopen
from evermq.testing.conformance.start import start
from evermq.testing.conformance.subject import Subject

__all__ = ["CHECKS", "Case", "cases"]

_LIMIT_S = 60
_CHAPTERS = [append, content, read, ack, release, order, groups, start, delay, backlog, close, reopen, place]
_SESSION = SYSTEM.token()
_NUMBERS = count(1)

CHECKS: list[Check] = [check for chapter in _CHAPTERS for check in chapter.checks]


@dataclass(frozen=True, slots=True)
class Case:
    """One check of one subject; `str` of it is the test's id."""

    subject: Subject
    check: Check

    async def run(self) -> None:
        """Open a topic of its own and check; fails with an AssertionError, a TimeoutError after a minute, or
        with what the queue raises."""
        topic = f"conformance-{_SESSION}-{next(_NUMBERS)}"
        async with self.subject.open(topic) as opened:
            bench = Bench(self.subject, topic, opened)
            async with asyncio.timeout(_LIMIT_S):
                await self.check.act(bench)

    def __str__(self) -> str:
        return f"{self.subject.name}-{self.check}"


def cases(subjects: Iterable[Subject]) -> list[Case]:
    """Each subject with each check of what it promises."""
    return [Case(subject, check) for subject in subjects for check in CHECKS if check.is_for(subject)]
