"""Storms over the ordered ladder of real servers: nothing is lost, and nothing is flagged, since nothing was lost."""

from pathlib import Path

import pytest
from tests.drills.storm import Storm

pytestmark = [pytest.mark.chaos, pytest.mark.engine, pytest.mark.timeout(400)]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_storm_over_the_ladder_loses_nothing_and_flags_nothing(tmp_path: Path, seed: int) -> None:
    storm = Storm(tmp_path, seed, seconds=60)
    verdict = await storm.run()
    assert verdict.verdict == "PASS", (verdict, storm.missing[:20])
    assert not storm.flagged, (storm.flagged[:20], storm.missing[:20])
