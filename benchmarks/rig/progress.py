"""Progress goes to standard error, so that standard output holds the outcome alone."""

from __future__ import annotations

import sys

__all__ = ["say"]


def say(progress: str) -> None:
    """One line."""
    print(f"==> {progress}", file=sys.stderr, flush=True)
