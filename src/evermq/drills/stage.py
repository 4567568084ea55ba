"""The processes of a run, what they report, and the conductor's own history of what happened when."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from evermq.errors import Misconfigured
from evermq.testing.checker import Verdict
from evermq.testing.history import Event, Recorder

__all__ = ["Child", "Stage"]


@dataclass(slots=True)
class Child:
    """A process. progress: the newest numbers that it told. rung: by way of which child its newest message went.
    before: what its killed predecessors had told. is_ending: it was told to end, or killed."""

    name: str
    arguments: list[str]
    process: asyncio.subprocess.Process
    progress: dict[str, int] = field(default_factory=dict)
    rung: str = ""
    before: int = 0
    is_ending: bool = False
    listener: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.process.returncode is not None


class Stage:
    """Starts, kills and ends processes, each `python -m MODULE ROLE DIRECTORY …`, which tell a JSON object a line.

    tell(text): something happened. show(): called again and again while waiting. failures: processes that ended of an
    error, a sentence each.
    """

    def __init__(
        self,
        directory: Path,
        module: str,
        *,
        tell: Callable[[str], None] = lambda text: None,
        show: Callable[[], None] = lambda: None,
    ) -> None:
        self.directory = directory
        self.children: dict[str, Child] = {}
        self.recorder = Recorder(directory / "history-conductor.jsonl")
        self.kills = 0
        self.failures: list[str] = []
        self._module = module
        self._tell, self._show = tell, show

    def note(self, ev: str, detail: str) -> None:
        """Write an event down and tell it."""
        self.recorder.record([Event(time.monotonic_ns(), ev, proc="conductor", detail=detail)])
        self._tell(detail)

    async def start(self, name: str, *arguments: str) -> Child:
        """Start a process; one of the same name takes the place of the one before."""
        with (self.directory / "processes.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                arguments[0],
                str(self.directory),
                *arguments[1:],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        before = self.children[name].before if name in self.children else 0
        child = self.children[name] = Child(name, list(arguments), process, before=before)
        child.listener = asyncio.create_task(self._listen(child))
        return child

    async def _listen(self, child: Child) -> None:
        assert child.process.stdout
        while line := await child.process.stdout.readline():
            told = json.loads(line)
            child.rung = told.pop("rung", child.rung)
            child.progress.update(told)
        status = await child.process.wait()
        if status and not child.is_ending:
            self.failures.append(f"{child.name} ended with status {status}: see {self.directory / 'processes.log'}")
            self.note("abort", self.failures[-1])

    def named(self, prefix: str) -> list[Child]:
        """The processes whose names begin so."""
        return [child for name, child in self.children.items() if name.startswith(prefix)]

    async def until(self, condition: Callable[[], bool], wait_s: float, what: str) -> None:
        """Wait for a condition, at most so long. Raises Misconfigured."""
        end = time.monotonic() + wait_s
        while not condition():
            if time.monotonic() > end:
                raise Misconfigured(f"the run waited {wait_s:.0f} s for {what} in vain; see {self.directory}")
            self._show()
            await asyncio.sleep(0.1)

    async def wait(self, seconds: float) -> None:
        """Let time pass, and show it."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._show()
            await asyncio.sleep(min(0.1, left))

    def total(self, what: str) -> int:
        """A number over all processes, the killed ones included."""
        return sum(child.before + child.progress.get(what, 0) for child in self.children.values())

    async def kill_and_restart(self, name: str) -> None:
        """SIGKILL, half a second of nothing, and the same again; nothing if it has ended by itself."""
        child = self.children[name]
        if child.ended:
            return
        child.is_ending = True
        child.process.kill()
        await child.process.wait()
        self.kills += 1
        self.note("crash", f"kill -9 {name}")
        if name.startswith("consumer"):
            child.before += child.progress.get("handled", 0)
        await asyncio.sleep(0.5)
        await self.start(name, *child.arguments)
        self.note("recover", f"{name} is back")

    async def end(self, prefix: str, *, wait_s: float = 20) -> None:
        """Let processes end in order."""
        chosen = self.named(prefix)
        for child in chosen:
            if not child.ended:
                child.is_ending = True
                child.process.terminate()
        for child in chosen:
            try:
                await asyncio.wait_for(child.process.wait(), wait_s)
            except TimeoutError:
                child.process.kill()
                await child.process.wait()
            if child.listener:
                await child.listener

    async def kill_all(self) -> None:
        """Nothing of ours stays behind."""
        for child in self.children.values():
            if not child.ended:
                child.is_ending = True
                child.process.kill()
                await child.process.wait()
            if child.listener:
                await child.listener
        self.recorder.close()

    def judge(self, verdict: Verdict) -> None:
        """A run of which a process ended of an error has failed, whatever else is said of it."""
        if self.failures:
            verdict.verdict = "FAIL"
            verdict.reasons[:0] = self.failures
