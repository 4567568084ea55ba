"""The report of a drill: a page that stands alone, and the picture in it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from evermq.drills.archive import Held
from evermq.drills.goals import rows
from evermq.testing.checker import RULES, Verdict
from evermq.testing.history import Event

__all__ = ["counts_of", "write_page"]

_COUNTS = ("sent", "acknowledged", "uncertain", "handled", *RULES, "kills")


def counts_of(verdict: Verdict) -> dict[str, object]:
    """The verdict as the command line's contract names its fields."""
    counts = verdict.counts
    return {
        "verdict": verdict.verdict,
        "sent": verdict.sent,
        "acknowledged": verdict.acknowledged,
        "uncertain": verdict.uncertain,
        "handled": verdict.handled,
        **{rule: counts[rule] for rule in RULES},
    }


def write_page(path: Path, held: Held, verdict: Verdict, events: Sequence[Event], picture: Path) -> None:
    """Write `path`, HTML with everything in it."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["seconds"] = lambda value: "never" if value is None else f"{value:.2f} s"
    template = environment.from_string((Path(__file__).parent / "report.html.j2").read_text())
    origin = events[0].t if events else 0
    noted = [event for event in events if event.proc == "conductor"]
    page = template.render(
        held=held,
        reasons=verdict.reasons,
        counts=_COUNTS,
        goals=rows(held.figures["goals"]),
        picture=base64.b64encode(picture.read_bytes()).decode(),
        examples=[f"{rule}: {text}" for rule, texts in verdict.examples.items() for text in texts],
        timeline=[f"{(event.t - origin) / 1e9:7.2f} s  {event.ev:9}  {event.detail}" for event in noted],
    )
    path.write_text(page)
