"""Servers that go on when the command that started them has ended, found again by what they left in a directory."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import msgspec

from evermq.drills.engines.catalog import find
from evermq.drills.engines.node import alive, is_left
from evermq.errors import Misconfigured

__all__ = ["Lasting", "running"]

_FILE = "running.json"
_END_S = 10


class Lasting(msgspec.Struct, frozen=True):
    """An engine that was started. pids: of its processes, each the leader of a process group."""

    engine: str
    url: str
    pids: list[int]

    @classmethod
    def up(cls, name: str, home: Path) -> Lasting:
        """Start an engine under `home`; one that runs already is left alone. Raises Missing, Unavailable."""
        engine = find(name)
        where = home / name
        old = _read(where)
        if old and old.is_whole(home):
            return old
        if old:
            old.down(home)
        shutil.rmtree(where, ignore_errors=True)  # what a start that failed left
        server = engine(where, lasting=True).start()
        started = cls(name, server.url(), server.pids)
        (where / _FILE).write_bytes(msgspec.json.encode(started))
        return started

    def down(self, home: Path) -> None:
        """End it, and remove its data."""
        where = home / self.engine
        mine = [pid for pid in self.pids if _belongs(pid, where)]
        for pid in mine:
            os.killpg(pid, signal.SIGKILL)
        end = time.monotonic() + _END_S
        while any(map(is_left, mine)) and time.monotonic() < end:
            time.sleep(0.02)
        shutil.rmtree(where, ignore_errors=True)

    def is_whole(self, home: Path) -> bool:
        """Whether all of its processes run."""
        return all(_belongs(pid, home / self.engine) for pid in self.pids)


def running(home: Path, names: list[str] | None = None) -> list[Lasting]:
    """What was started under `home`: all, or those of these names. Raises Misconfigured for one that was not."""
    found = {each.engine: each for path in sorted(home.glob(f"*/{_FILE}")) if (each := _read(path.parent))}
    for name in names or ():
        if name not in found:
            raise Misconfigured(f"{name} is not running; running are: {', '.join(found) or 'none'}")
    return [found[name] for name in names or found]


def _read(where: Path) -> Lasting | None:
    try:
        return msgspec.json.decode((where / _FILE).read_bytes(), type=Lasting)
    except (OSError, msgspec.DecodeError):
        return None


def _belongs(pid: int, where: Path) -> bool:
    """Whether a process is ours: numbers are used again, directories are not."""
    try:
        return alive(pid) and Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(where.resolve())
    except OSError:
        return False
