"""What a person sees while a drill runs."""

from functools import partial
from io import StringIO

import pytest
from rich.console import Console

from evermq.drills import live


def last_number(drawn: StringIO, name: str) -> str:
    """What stands behind a name in the newest table that has it."""
    return drawn.getvalue().rpartition(name)[2].split()[0]


def test_backlog_that_was_measured_is_drawn_instead_of_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = StringIO()
    console = partial(Console, file=drawn, force_terminal=True, width=100)
    monkeypatch.setattr(live, "Console", lambda stderr: console())
    with live.Live(True) as view:
        view.show(1_010, 10)
        view.event("before anybody asked")
        assert last_number(drawn, "not handled yet") == "1,000"
        assert "backlog" not in drawn.getvalue()
        view.backlog = 3
        view.event("the queues were asked")
        assert last_number(drawn, "backlog") == "3"
        assert drawn.getvalue().rindex("backlog") > drawn.getvalue().rindex("not handled yet")
