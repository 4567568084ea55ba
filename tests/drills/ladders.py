"""Ladders of a user's own, of logs in a directory."""

from __future__ import annotations

from pathlib import Path

from evermq.drills.degrade import Plan
from evermq.drills.own_topic import toml

__all__ = ["QUICK", "SHORT", "ladder"]

QUICK = {
    "slow_ms": 10_000,
    "probe_ms": 300,
    "canary": 4,
    "good": 3,
    "good_ms": 500,
    "dwell_ms": 1_000,
    "returning_ms": 500,
}
SHORT = Plan(healthy_s=2, hold_s=8, return_s_max=150)  # a slow disk has to show the standby, too


def ladder(directory: Path, primary: str = "", standby: str = "", *, switch: str = "", progress: str = "") -> Path:
    """Its configuration. progress: a URL; order is kept then, and the last rung is a log of the host."""
    config = directory / "evermq.toml"
    at = switch or f"file://{directory}/switch"
    lines = ["[topics.orders]", 'use = "failover"', f"switch = {toml({'at': at, **QUICK})}"]
    lines += [f'primary = "{primary or f"log://{directory}/a/orders"}"']
    lines += [f'standby = "{standby or f"log://{directory}/b/orders"}"']
    if progress:
        lines += [f'last = "log://{directory}/last/orders"', 'groups = ["billing"]']
        lines += ['order = "key"', 'dedupe = "producer"', f'progress = "{progress}"']
    config.write_text("\n".join([*lines, ""]))
    return config
