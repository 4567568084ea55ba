"""Runs the programs beside this file, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: object, timeout_s: int = 500) -> dict[str, Any]:
    """The figures that a program prints; a failure has its own words in it."""
    command = [sys.executable, "-m", f"tests.e2e.{module}", *map(str, arguments)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=timeout_s, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    figures: dict[str, Any] = json.loads(ran.stdout)
    return figures


def needs(reason: str) -> None:
    """Skip with the reason at home; in CI nothing may be missing."""
    if reason:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
