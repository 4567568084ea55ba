"""One server process: started, killed, frozen, restarted, and ended with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evermq.errors import Unavailable

__all__ = ["Node", "alive", "is_left"]

_FREEZE_S_MAX = 5


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be buried does not."""
    return _group_of(pid) > 0


def _group_of(pid: int) -> int:
    """The process group of a process that runs, else 0."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    state, group, threads = fields[0], int(fields[2]), int(fields[17])
    # One whose first thread is gone already looks dead, while the others still hold its files and ports.
    return 0 if state in ("Z", "X") and threads <= 1 else group


def _descendants(pid: int) -> list[int]:
    """The processes that one has started, and theirs, in whatever group."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # gone
            children.setdefault(parent, []).append(int(each.name))
    found = children.get(pid, [])
    for each_pid in found:  # which grows meanwhile
        found += children.get(each_pid, [])
    return found


def is_left(group: int) -> bool:
    """Whether any process of a group runs."""
    return any(_group_of(int(each.name)) == group for each in Path("/proc").iterdir() if each.name.isdigit())


def _is_still(pid: int) -> bool:
    """Whether no thread of a process runs."""
    try:
        stats = [(each / "stat").read_text() for each in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return not alive(pid)
    return all(stat.rpartition(")")[2].split()[0] in "TtZX" for stat in stats)


def _send(kill: Callable[[int, int], None], pid: int, number: signal.Signals) -> None:
    try:
        kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # gone, or only its unburied remains are left


class Node:
    """A server process and its directory, which holds `NAME.pid` while it runs and `NAME.log`.

    ready: whether the server answers its clients. ready_s: how long that may take.
    stop_s: how long an orderly end may take before it is killed.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        command: Sequence[str],
        ready: Callable[[], bool],
        *,
        env: Mapping[str, str] | None = None,
        ready_s: float = 60,
        stop_s: float = 15,
    ) -> None:
        self.name = name
        self.directory = directory
        self.command = list(command)
        self.log = directory / f"{name}.log"
        self._pid_file = directory / f"{name}.pid"
        self._env = {**os.environ, **(env or {})}
        self._ready = ready
        self._ready_s, self._stop_s = ready_s, stop_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0
        self._killed: list[int] = []  # with the process

    @property
    def pid(self) -> int:
        """The process; 0 while there is none."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def begin(self) -> None:
        """Start the process without waiting for it to answer."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            self._process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(str(self._process.pid))

    def start(self) -> None:
        """Start, and return when the server answers. Raises Unavailable, with the end of its log, if it does not."""
        self.begin()
        self.until_ready()

    def until_ready(self) -> None:
        """Wait until the server answers."""
        end = time.monotonic() + self._ready_s
        while not self._ready():
            if not self.pid or time.monotonic() > end:
                what = "does not answer" if self.pid else "ended"
                self.kill()
                raise Unavailable(f"{self.name} {what} after its start; {self.log} ends with:\n{self.tail()}")
            time.sleep(0.05)

    def said(self, text: str) -> bool:
        """Whether the log holds a text since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return text.encode() in log.read()

    def tail(self, lines: int = 20) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """End it at once, as a crash does (SIGKILL)."""
        self._signal(signal.SIGKILL)
        self._bury()

    def freeze(self) -> None:
        """Let it stand still with its connections open (SIGSTOP): a thread in the midst of a call stops behind it."""
        self._signal(signal.SIGSTOP)
        until_s = time.monotonic() + _FREEZE_S_MAX
        while not all(map(_is_still, self._pids())) and time.monotonic() < until_s:
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it if it runs, and start it over the data it left."""
        self.kill()
        self.start()

    def ask_to_stop(self) -> None:
        """Begin an orderly end (SIGTERM), of a frozen one too."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in order; what does not end in time is killed."""
        self.ask_to_stop()
        if self._process:
            try:
                self._process.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
        self._signal(signal.SIGKILL)  # children that outlived it
        self._bury()

    def _pids(self) -> list[int]:
        """The process and all that it started: the backends of PostgreSQL are in groups of their own."""
        return [self._process.pid, *_descendants(self._process.pid)] if self._process else []

    def _signal(self, number: signal.Signals) -> None:
        """To its group; what no process is asked about reaches those in other groups as well."""
        if not self._process:
            return
        others = _descendants(self._process.pid)
        _send(os.killpg, self._process.pid, number)
        if number is signal.SIGSTOP:
            others = _descendants(self._process.pid)  # it starts no more by now
        if number is not signal.SIGTERM:
            for pid in others:
                _send(os.kill, pid, number)
        if number is signal.SIGKILL:
            self._killed = others

    def _bury(self) -> None:
        """Until the last of its processes is gone: only then are its ports and files free."""
        if self._process:
            self._process.wait()
            while is_left(self._process.pid) or any(map(alive, self._killed)):
                time.sleep(0.01)
            self._killed = []
        self._pid_file.unlink(missing_ok=True)
