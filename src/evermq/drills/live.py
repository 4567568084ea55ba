"""What a person sees while a drill runs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live as RichLive
from rich.panel import Panel
from rich.table import Table

__all__ = ["Live"]

_EVENTS_SHOWN = 14


class Live:
    """A table that is drawn again as things happen; silent where it is not wanted, lines where nobody can redraw.

    backlog: what the queues themselves say is left, once they were asked."""

    def __init__(self, wanted: bool, *, title: str = "evermq demo: a year of flights while things break") -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._wanted = wanted
        self._view = (
            RichLive(console=self._console, auto_refresh=False) if wanted and self._console.is_terminal else None
        )
        self._began = time.monotonic()
        self._events: list[str] = []
        self._last = (self._began, 0, 0)
        self._rates = (0.0, 0.0)
        self._numbers = (0, 0)
        self.total = 0
        self.backlog: int | None = None
        self.rung = "primary"

    def __enter__(self) -> Self:
        if self._view:
            self._view.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._view:
            self._view.stop()

    def event(self, text: str) -> None:
        """Something happened."""
        line = f"{time.monotonic() - self._began:6.1f} s  {text}"
        self._events.append(line)
        if self._view:
            self._draw()
        elif self._wanted:
            self._console.print(line, highlight=False, soft_wrap=True)

    def show(self, sent: int, handled: int) -> None:
        """How far it is."""
        now = time.monotonic()
        then, sent_then, handled_then = self._last
        self._numbers = (sent, handled)
        if now - then >= 0.5:
            self._rates = ((sent - sent_then) / (now - then), (handled - handled_then) / (now - then))
            self._last = (now, sent, handled)
            if self._view:
                self._draw()

    def _draw(self) -> None:
        assert self._view
        sent, handled = self._numbers
        table = Table.grid(padding=(0, 3))
        of = f" of {self.total:,}" if self.total else ""
        table.add_row("sent", f"{sent:,}{of}", f"{max(0, self._rates[0]):,.0f}/s")
        table.add_row("handled", f"{handled:,}", f"{max(0, self._rates[1]):,.0f}/s")
        left = max(0, sent - handled)
        table.add_row(*(("not handled yet", f"{left:,}") if self.backlog is None else ("backlog", f"{self.backlog:,}")))
        table.add_row("active rung", f"[bold]{self.rung}[/bold]", "")
        for line in self._events[-_EVENTS_SHOWN:]:
            table.add_row("", line, "")
        self._view.update(Panel(table, title=self._title), refresh=True)
