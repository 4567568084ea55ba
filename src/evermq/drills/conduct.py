"""Holds a drill from its engines to its report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evermq.drills.archive import Held, new
from evermq.drills.degrade import Degrade, Plan
from evermq.drills.faults.outages import check_fault
from evermq.drills.faults.rows import ROWS
from evermq.drills.figures import Figures, measure
from evermq.drills.given import given
from evermq.drills.goals import goals_of
from evermq.drills.live import Live
from evermq.drills.picture import draw
from evermq.drills.report import counts_of, write_page
from evermq.drills.setting import Setting, keeps_order, started
from evermq.drills.stage import Stage
from evermq.ha.breaker import Pace
from evermq.testing.checker import Verdict
from evermq.testing.history import Event, load

__all__ = ["hold", "hold_over", "switch_of"]


async def hold(
    plan: Plan,
    *,
    engines: str | None = None,
    topic: str | None = None,
    config: Path | None = None,
    fault: str | None = None,
    directory: Path | None = None,
    live: bool = True,
    keep: bool = False,
    switch: Mapping[str, int] = MappingProxyType({}),
    order: bool | None = None,
) -> Held:
    """Hold the drill `degrade` over engines that are started for it, or over a topic of the user's own configuration.

    directory: where drills are kept. keep: the histories too; they stay in any case where the verdict is not PASS.
    switch: its numbers, for engines that are started. order: kept per key, and the ladder's doubles
    dropped; if None, where two rungs are started, and where the topic promises it. Raises Misconfigured, Missing or
    Unavailable where it cannot begin.
    """
    if fault:
        check_fault(fault, *(ROWS if engines else ()))
    place = new("degrade", directory)
    if engines:
        ordered = keeps_order(engines) if order is None else order
        setting = started(engines, fault or "kill", place, switch=switch_of(plan, switch), order=ordered)
    else:
        setting = given(topic or "orders", config, fault, place, order=order)
    with Live(live, title="evermq drill degrade") as shown:
        shown.event(f"starting {engines}" if engines else f"looking at topic {topic}")
        return await hold_over(setting, plan, place, shown, keep=keep)


def switch_of(plan: Plan, given: Mapping[str, int]) -> dict[str, int]:
    """The numbers of a switch over engines that are started: one outage after the other is the plan here, so the dwell
    does not grow with them as it would in production."""
    return {"dwell_ms_max": given.get("dwell_ms", Pace().dwell_ms), **given} if plan.cycles > 1 else dict(given)


async def hold_over(
    setting: AbstractAsyncContextManager[Setting], plan: Plan, place: Path, live: Live, *, keep: bool = False
) -> Held:
    """As `hold`, over a setting, in the directory of the drill."""
    began, when = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    try:
        async with setting as found:
            drill = Degrade(found, plan, place, tell=live.event, show=lambda stage: _show(live, stage))
            verdict = await drill.run()
        events = load(sorted(place.glob("history-*.jsonl")))
        figures = _figures(drill, verdict, events, time.monotonic() - began, place)
        versions = {"evermq": version("evermq"), **found.versions}
        held = Held(
            place.name, "degrade", found.outage.name, list(found.engines), when, versions, plan.seed, drill.gates,
            figures, verdict.reasons, [*drill.notes, *found.left], found.order,
        )  # fmt: skip
        _write(held, verdict, events, place)
        live.event(str(verdict))
    except BaseException:
        if not any(place.glob("history-producer-*")):
            shutil.rmtree(place, ignore_errors=True)
        raise
    if verdict.verdict == "PASS" and not keep:
        for path in (*place.glob("history-*.jsonl"), *place.glob("progress.sqlite*"), place / "plan.json"):
            path.unlink()
        shutil.rmtree(place / "last", ignore_errors=True)
    return held


def _show(live: Live, stage: Stage) -> None:
    rungs = sorted({child.rung for child in stage.named("producer") if child.rung})
    live.rung = ", ".join(rungs) or "none"
    live.show(stage.total("sent"), stage.total("handled"))


def _figures(drill: Degrade, verdict: Verdict, events: list[Event], elapsed_s: float, place: Path) -> dict[str, Any]:
    measured: Figures = measure(events)
    spans = [event.t for event in events if event.ev in ("start", "stop")]
    flowed_s = (spans[-1] - spans[0]) / 1e9 if len(spans) > 1 else elapsed_s
    return {
        **counts_of(verdict),
        "kills": drill.stage.kills,
        "failovers": sum(cycle.flip_s is not None for cycle in measured.cycles),
        "recovery_s": _rounded(measured.stall_max_s),
        "elapsed_s": round(elapsed_s, 1),
        "messages_per_s": round(verdict.acknowledged / flowed_s),
        "report": str(place / "report.html"),
        "picture": str(place / "timeline.png"),
        "flip_s": _rounded(measured.flip_s),
        "return_s": _rounded(measured.return_s),
        "stall_max_s": _rounded(measured.stall_max_s),
        "restart_max_s": _rounded(measured.restart_max_s),
        "send_p99_ms": measured.send_p99_ms,
        "through": measured.through,
        "goals": goals_of(measured, drill.setting.outage),
        "cycles": [{key: _rounded(value) for key, value in asdict(cycle).items()} for cycle in measured.cycles],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _write(held: Held, verdict: Verdict, events: list[Event], place: Path) -> None:
    title = f"evermq drill degrade, {held.fault} of {held.engines[0]}: {verdict.verdict}"
    picture = place / "timeline.png"
    draw(picture, events, title)
    write_page(place / "report.html", held, verdict, events, picture)
    held.write(place)
