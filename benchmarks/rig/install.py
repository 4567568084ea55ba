"""Peers are no part of evermq: a benchmark installs those that it needs, and says so."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rig.contender import NotThere
from rig.progress import say

__all__ = ["binary", "install", "install_together", "need"]

_TIME_LIMIT_S = 60


def need(**packages: str) -> None:
    """Make modules importable: need(nats="nats-py") for a module and the package that it comes in.

    Raises NotThere where that fails.
    """
    missing = _missing(packages)
    if missing:
        install(*missing)
        if _missing(packages):
            raise NotThere(f"{', '.join(missing)} was installed, but cannot be imported")


def install_together(packages: Mapping[str, str]) -> None:
    """Everything in one go, which is quicker; where that fails, each is tried alone when it is needed."""
    missing = _missing(packages)
    if len(missing) > 1:
        with suppress(NotThere):
            install(*missing)


def install(*packages: str) -> None:
    """Install packages beside evermq, and say so. Raises NotThere where that fails."""
    names = ", ".join(packages)
    say(f"installing {names} into {sys.prefix}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotThere(f"{names} was not installed within {_TIME_LIMIT_S} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise NotThere(f"{names} cannot be installed: {last}")
    importlib.invalidate_caches()


def _missing(packages: Mapping[str, str]) -> list[str]:
    return [package for module, package in packages.items() if not _is_there(module)]


def _is_there(module: str) -> bool:
    """kombu puts a module without a spec in its own place when it is imported."""
    return sys.modules.get(module) is not None or importlib.util.find_spec(module) is not None


def binary(name: str) -> str | None:
    """The path of a program: on PATH or beside this Python."""
    beside = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
    return shutil.which(name, path=beside)
