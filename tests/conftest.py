"""How tests are shared out among workers, and how many planted bugs were caught, and how soon."""

from __future__ import annotations

import os
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


_AMONG_SERVERS = 2  # workers; more of them, and servers answer too late on two processors
_TOGETHER = re.compile(r"(?:tests/)?(?:engines/test_([a-z]+)|drills/test_(diagonal|outages))")
_LONG = re.compile(r"(?:tests/)?(?:simulation|mutants|drills|e2e|daemon|client)\b")
_TIMELESS = re.compile(r"(?:tests/)?(?:simulation|mutants|policy|test_conformance|test_tidy|test_architecture)\b")


def pytest_configure(config: pytest.Config) -> None:
    """A worker that only computes leaves the processors to those whose servers have to answer in time."""
    worker = getattr(config, "workerinput", {}).get("workerid", "gw0")
    if _is_beside(worker):
        os.nice(10)


def _is_beside(worker: str) -> bool:
    return int(worker.removeprefix("gw")) >= _AMONG_SERVERS


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Tests of one engine (`tests/engines/test_ENGINE_….py`) all go to one worker, one after the other, so that its
    servers are started once, and so do drills over several engines, which would slow each other down; the others go
    wherever there is time, by files, or one by one where they take long. Workers beyond the second compute meanwhile:
    tests to which no clock of the machine matters.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class EngineScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            if found := _TOGETHER.match(nodeid):
                return found[1] or found[2]
            if nodeid.endswith("]") and "test_conformance.py" in nodeid:
                return nodeid.rsplit("-", 1)[0]  # a chapter
            return nodeid if _LONG.match(nodeid) else super()._split_scope(nodeid)

        def _next(self, node: Any) -> str | None:
            """What this worker does next: what the others cannot take from it, as long as there is such."""
            is_beside = _is_beside(node.gateway.id)
            fitting = (scope for scope in self.workqueue if bool(_TIMELESS.match(scope)) == is_beside)
            return next(fitting, None if is_beside else next(iter(self.workqueue), None))

        def _assign_work_unit(self, node: Any) -> None:
            if scope := self._next(node):
                self.workqueue.move_to_end(scope, last=False)
                super()._assign_work_unit(node)

        def _reschedule(self, node: Any) -> None:
            if self.workqueue and not node.shutting_down and self._next(node) is None:
                node.shutdown()
            else:
                super()._reschedule(node)

    return EngineScheduling(config, log)
