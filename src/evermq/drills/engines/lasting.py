"""Servers that go on when the command that started them has ended, found again by what they left in a directory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from evermq.drills.engines.catalog import find
from evermq.drills.engines.node import alive, is_left
from evermq.errors import Misconfigured

__all__ = ["Held", "Lasting", "dev_home", "running"]

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
        _until_gone(mine)
        shutil.rmtree(where, ignore_errors=True)

    def held(self, home: Path | None = None) -> Held:
        """Hands on its processes."""
        return Held(self, home or dev_home())

    def is_whole(self, home: Path) -> bool:
        """Whether all of its processes run."""
        return all(_belongs(pid, home / self.engine) for pid in self.pids)


class Held:
    """Hands on the processes of an engine: they can be signalled, and started again as they were."""

    def __init__(self, engine: Lasting, home: Path) -> None:
        self._engine, self._where = engine, home / engine.engine
        self._processes = [_Process.of(pid) for pid in engine.pids]
        self._pids = list(engine.pids)

    def signal(self, number: signal.Signals) -> None:
        """Send it to all; of what is to end, wait for the end."""
        for pid in self._pids:
            os.killpg(pid, number)
        if number != signal.SIGSTOP:
            _until_gone(self._pids)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self._pids:
            os.killpg(pid, signal.SIGCONT)

    def start(self) -> None:
        """Start those that are gone again, over the data that they left; `dev down` finds them."""
        self._pids = [
            pid if is_left(pid) else process.start() for pid, process in zip(self._pids, self._processes, strict=True)
        ]
        started = Lasting(self._engine.engine, self._engine.url, self._pids)
        (self._where / _FILE).write_bytes(msgspec.json.encode(started))


class _Process(NamedTuple):
    """What it takes to start a process again."""

    command: list[str]
    directory: str
    environment: dict[str, str]
    output: str

    @classmethod
    def of(cls, pid: int) -> _Process:
        """As it runs."""
        proc = Path(f"/proc/{pid}")
        fields = (proc / "environ").read_bytes().decode(errors="surrogateescape").split("\0")
        command = (proc / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
        environment = dict(field.split("=", 1) for field in fields if "=" in field)
        return cls(command, os.readlink(proc / "cwd"), environment, os.readlink(proc / "fd" / "1"))

    def start(self) -> int:
        """Its new pid, which leads a process group."""
        with open(self.output, "ab") as output:
            return subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).pid


def dev_home() -> Path:
    """Where `evermq dev up` keeps its servers unless it is told: $XDG_STATE_HOME/evermq/dev, under ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "evermq" / "dev"


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


def _until_gone(pids: list[int]) -> None:
    end = time.monotonic() + _END_S
    while any(map(is_left, pids)) and time.monotonic() < end:
        time.sleep(0.02)
