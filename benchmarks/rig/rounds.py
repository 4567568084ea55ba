"""Shuffled rounds: in each, every case measures its two contenders one right after the other.

Absolute figures of a shared machine swing by a factor of two within minutes; the ratio of two neighbours swings
far less, and the median of such ratios less again. So a case never compares figures of different moments.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rig.contender import Case, Contender, Measure, NotThere
from rig.install import install_together, need
from rig.progress import say

__all__ = ["Row", "run"]

_WARM_SECONDS = 0.1
Pair = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """The outcome of a case. ratio: the median of the ratios of the rounds; None with the reason why there is none."""

    case: str
    subject: str
    peer: str
    ratio: float | None
    ratio_min: float | None
    ratio_max: float | None
    rounds: int
    subject_per_s: float | None
    peer_per_s: float | None
    reason: str = ""


def run(cases: Sequence[Case], *, rounds: int, seconds: float) -> list[Row]:
    """Measure all cases `rounds` times, each contender for about `seconds`, in a new order each time."""
    with ExitStack() as stack:
        measures, reasons = _open(cases, stack)
        # What all contenders made ready lies in one heap: without this, each allocation of a measurement pays for
        # walking through the others' messages again and again.
        gc.collect()
        gc.freeze()
        stack.callback(gc.unfreeze)
        pairs: dict[Case, list[Pair]] = {case: [] for case in cases}
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}")
            for case in random.sample(cases, len(cases)):
                if case.subject in measures and case.peer in measures:
                    try:
                        pairs[case].append(_measure(measures[case.subject], measures[case.peer], seconds))
                    except NotThere as reason:
                        _leave_out(case.peer, reason, reasons)
                        del measures[case.peer]
    return [_row(case, pairs[case], reasons) for case in cases]


def _open(cases: Sequence[Case], stack: ExitStack) -> tuple[dict[Contender, Measure], dict[Contender, str]]:
    measures: dict[Contender, Measure] = {}
    reasons: dict[Contender, str] = {}
    contenders = dict.fromkeys(c for case in cases for c in (case.subject, case.peer))
    install_together({module: package for contender in contenders for module, package in contender.needs.items()})
    for contender in contenders:
        say(f"getting ready: {contender.label}")
        try:
            need(**contender.needs)
            measure = stack.enter_context(contender.open())
            measure(_WARM_SECONDS)
            measures[contender] = measure
        except NotThere as reason:
            _leave_out(contender, reason, reasons)
    return measures, reasons


def _leave_out(contender: Contender, reason: NotThere, reasons: dict[Contender, str]) -> None:
    say(f"left out: {contender.label}: {reason}")
    reasons[contender] = str(reason)


def _measure(subject: Measure, peer: Measure, seconds: float) -> Pair:
    if random.random() < 0.5:
        first = subject(seconds)
        return first, peer(seconds)
    second = peer(seconds)
    return subject(seconds), second


def _row(case: Case, pairs: Sequence[Pair], reasons: dict[Contender, str]) -> Row:
    name = f"{case.number} {case.goal.case}"
    labels = name, case.subject.label, case.goal.peer
    if not pairs:
        reason = "; ".join(reasons[c] for c in (case.subject, case.peer) if c in reasons)
        return Row(*labels, None, None, None, 0, None, None, reason)
    ratios = [subject / peer for subject, peer in pairs]
    per_s = [statistics.median(side) for side in zip(*pairs, strict=True)]
    return Row(*labels, statistics.median(ratios), min(ratios), max(ratios), len(pairs), per_s[0], per_s[1])
