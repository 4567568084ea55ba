"""The sliding window against what one would write in its place: `python benchmarks/window.py --quick`.

Every contender is told of a million numbers, one call each, in the same order. See docs/internals/benchmarks.md.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from evermq.watermark import Watermark
from rig.command import parser, read, report
from rig.contender import Case, Contender, Measure
from rig.environment import machine, versions
from rig.pace import spans_per_second

NUMBERS = ["E1", "E2", "E3"]
COUNT = 1_000_000


class Window(Protocol):
    """Whoever can be told that a number is done."""

    def mark(self, number: int) -> None: ...


class Nothing:
    """The price of the call itself."""

    def mark(self, number: int) -> None:
        return


class SetWindow:
    """A set of what is done beyond `low`: four lines, and right."""

    __slots__ = ("_done", "low")

    def __init__(self) -> None:
        self.low = 0
        self._done: set[int] = set()

    def mark(self, number: int) -> None:
        done = self._done
        done.add(number)
        while self.low in done:
            done.remove(self.low)
            self.low += 1


def random_order(count: int, width: int) -> list[int]:
    """The first `count` numbers as if `width` of them were always under way, and any might be done next; none is
    handed out that is `width` or more beyond the oldest that is not done."""
    chance = random.Random(width)
    window = SetWindow()
    under_way: list[int] = []
    order: list[int] = []
    handed = 0
    while len(order) < count:
        fresh = min(count, window.low + width) - handed
        under_way += range(handed, handed + fresh)
        handed += fresh
        at = chance.randrange(len(under_way))
        under_way[at], under_way[-1] = under_way[-1], under_way[at]
        order.append(under_way.pop())
        window.mark(order[-1])
    return order


def stuck_order(count: int) -> list[int]:
    """The first number is done last, all others in order."""
    return [*range(1, count), 0]


def marking(label: str, new: Callable[[], Window], order: Sequence[int]) -> Contender:
    """A new window each time; `mark` is called for every number."""

    def span() -> tuple[int, float]:
        mark = new().mark
        begin = time.perf_counter()
        for number in order:
            mark(number)
        return len(order), time.perf_counter() - begin

    @contextmanager
    def ready() -> Iterator[Measure]:
        yield lambda seconds: spans_per_second(span, seconds)

    return Contender(label, ready)


def cases(wanted: Sequence[str], count: int) -> list[Case]:
    """Those asked for, since the orders take a while to make."""
    makers: dict[str, tuple[Callable[[], list[int]], str, Callable[[], Window]]] = {
        "E1": (lambda: random_order(count, 4096), "empty method call", Nothing),
        "E2": (lambda: random_order(count, count), "set + while", SetWindow),
        "E3": (lambda: stuck_order(count), "set + while", SetWindow),
    }
    made = []
    for number in wanted or NUMBERS:
        order_of, label, peer = makers[number]
        order = order_of()
        made.append(Case(number, marking("Watermark.mark", Watermark, order), marking(label, peer, order)))
    return made


def main() -> None:
    arguments = parser("window", "The sliding window against an empty call and against a set.")
    arguments.add_argument("--marks", type=int, default=COUNT, metavar="N", help=f"default {COUNT}")
    options = read(arguments, NUMBERS)
    count = options.given.marks
    around = {**machine(), "marks": count, "versions": versions("evermq")}
    report("window", options, cases(options.numbers, count), lambda: around)


if __name__ == "__main__":
    main()
