"""What a shell offers for the word that is being typed. Nothing is opened for it; what goes wrong offers nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from evermq.daemon.running import config_path

__all__ = ["topics", "worlds"]

_CONFIG = "evermq.toml"


def topics(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the configuration."""
    try:
        from evermq.compose.config import load

        given = ctx.params.get("config")
        return _fitting(load(config_path(given and Path(given)) or Path(_CONFIG)), incomplete)
    except Exception:  # it is not there, or not right yet: whoever runs the command is told
        return []


def worlds(incomplete: str) -> list[str]:
    """Those that can be played."""
    try:
        from evermq.testing.world import worlds

        return _fitting(worlds(), incomplete)
    except Exception:
        return []


def _fitting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
