"""The power of a real file system is cut under load."""

from pathlib import Path

import pytest
from tests.e2e.loop_disk import why_not
from tests.e2e.rig import needs, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(520)]


def test_power_cut_takes_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    needs(why_not())
    figures = run("power_server", tmp_path, "always", 100, 1)
    assert figures["wrong"] == []
    assert (figures["cuts"], figures["lost"], figures["phantom"]) == (100, 0, 0)
    assert figures["acknowledged"] > 500
    assert figures["uncertain"] > figures["recovered"] > 0


def test_power_cut_takes_what_was_never_flushed(tmp_path: Path) -> None:
    """The same rig must see a loss where one is due, or it is blind."""
    needs(why_not())
    figures = run("power_server", tmp_path, "never", 5, 1_000)
    assert figures["lost"] > 0
    assert figures["phantom"] == 0
