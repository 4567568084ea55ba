"""What a consumer tells of what fails."""

from __future__ import annotations

import pytest

from evermq.client.reports import Reports
from evermq.clock import SYSTEM
from evermq.errors import Damaged


def test_damage_that_is_met_again_and_again_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    told: list[BaseException] = []
    reports = Reports("g", told.append, SYSTEM)
    for text in ("one", "one", "one", "two"):
        reports.tell("a read failed", Damaged(text))
    assert [record.getMessage() for record in caplog.records] == ["group g: one", "group g: two"]
    assert len(told) == 4
