"""The timeline of a run as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evermq.testing.history import Event

__all__ = ["draw"]

_COLOURS = {"primary": "#2a6f97", "standby": "#f4a259", "standby2": "#c8553d", "last": "#5b8e7d"}
_OTHERS = ("#8d6a9f", "#b0a990", "#7a5c61")
_SHOWN = ("fault_on", "fault_off", "crash", "recover", "switch", "abort")


def draw(path: Path, events: Sequence[Event], title: str) -> None:
    """Acknowledged sends by rung and handled messages a second, what was not handled yet, and what was broken when."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    origin = min((event.t for event in events if event.ev == "start"), default=events[0].t if events else 0)
    colours = _rungs(events)
    acknowledged = {rung: _per_second(events, "send_ok", origin, rung) for rung in colours}
    handled = _per_second(events, "handler_ok", origin, None)
    seconds = range(max([*handled, *(s for rung in acknowledged.values() for s in rung)], default=0) + 1)
    figure, (rates, behind) = pyplot.subplots(2, 1, sharex=True, figsize=(11, 6.5), height_ratios=(3, 1))
    stack = [[rung[s] for s in seconds] for rung in acknowledged.values()]
    labels = [f"acknowledged by the {rung or 'queue'}" for rung in colours]
    rates.stackplot(seconds, *stack, labels=labels, colors=list(colours.values()), step="mid")
    rates.plot(seconds, [handled[s] for s in seconds], color="black", linewidth=1.2, label="handled")
    rates.set_ylabel("messages a second")
    top = 1.45 * max([*(sum(column) for column in zip(*stack, strict=True)), *handled.values()], default=1)
    rates.set_ylim(0, top)
    _mark_faults(rates, events, origin, top)
    rates.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncol=5, frameon=False)
    rates.set_title(title)
    behind.fill_between(seconds, _behind(acknowledged, handled, seconds), color="#9a8c98", step=None)
    behind.set_ylabel("not yet handled")
    behind.set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _rungs(events: Sequence[Event]) -> dict[str, str]:
    """A colour for every child that took something, the rungs of a ladder from the top down."""
    found = dict.fromkeys(event.via for event in events if event.ev == "send_ok")
    known = {rung: colour for rung, colour in _COLOURS.items() if rung in found}
    others = [rung for rung in found if rung not in known]
    return {**known, **{rung: _OTHERS[i % len(_OTHERS)] for i, rung in enumerate(others)}}


def _per_second(events: Sequence[Event], ev: str, origin: int, via: str | None) -> Counter[int]:
    return Counter(
        max(0, event.t - origin) // 1_000_000_000 for event in events if event.ev == ev and via in (None, event.via)
    )


def _behind(acknowledged: dict[str, Counter[int]], handled: Counter[int], seconds: range) -> list[int]:
    total, behind = 0, []
    for s in seconds:
        total += sum(rung[s] for rung in acknowledged.values()) - handled[s]
        behind.append(max(0, total))
    return behind


def _mark_faults(rates: Any, events: Sequence[Event], origin: int, top: float) -> None:
    ons = [(event.t - origin) / 1e9 for event in events if event.ev == "fault_on"]
    offs = [(event.t - origin) / 1e9 for event in events if event.ev == "fault_off"]
    for on, off in zip(ons, offs, strict=False):
        rates.axvspan(on, off, color="#d62828", alpha=0.12)
    noted = [event for event in events if event.proc == "conductor" and event.ev in _SHOWN]
    for i, event in enumerate(noted):
        at = (event.t - origin) / 1e9
        rates.axvline(at, color="#888888", linewidth=0.6, linestyle=":")
        rates.text(at, top * (0.96 - 0.055 * (i % 6)), f" {event.detail}", fontsize=8, va="top")
