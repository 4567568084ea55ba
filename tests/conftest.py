"""How tests are shared out among workers, and how many planted bugs were caught, and how soon."""

from __future__ import annotations

import re
import statistics
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow, and no example is wrong for that.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    seeds = [
        value
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "caught_by_seed" and report.when == "call"
    ]
    if seeds:
        count = sum(seed > 0 for seed in seeds)
        median = statistics.median([seed for seed in seeds if seed] or [0])
        terminalreporter.write_line(f"planted bugs: {count} of {len(seeds)} caught, median seeds to catch: {median:g}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Tests of one engine (`tests/engines/test_ENGINE_….py`) all go to one worker, one after the other, so that its
    servers are started once, and so do drills over several engines, which would slow each other down; every other test
    goes wherever there is time."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class EngineScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            found = re.match(r"(?:tests/)?(?:engines/test_([a-z]+)|drills/test_(diagonal|outages))", nodeid)
            return found[1] or found[2] if found else nodeid

    return EngineScheduling(config, log)
