"""Says at the end how many planted bugs were caught, and how soon."""

from __future__ import annotations

import statistics
from typing import Any


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
