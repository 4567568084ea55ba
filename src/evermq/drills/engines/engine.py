"""What tests, drills and `evermq dev` see of a real server, whichever it is."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from evermq.drills.engines.node import Node
from evermq.drills.engines.ports import HOST, free_port
from evermq.errors import EvermqError

__all__ = ["Door", "Engine", "Missing"]

# Waits until whoever holds its standard input is gone, however that ended, and then ends every server that is left.
_GUARD = """read -r _
for file in "$0"/*.pid "$0"/*/*.pid; do
  [ -f "$file" ] && kill -s KILL -- "-$(cat "$file")"
done
[ -z "$1" ] || rm -rf "$1"
"""


class Missing(EvermqError):
    """An engine is not installed here and cannot be; the message says what to install."""


class Door(NamedTuple):
    """Clients that dial the port `front` of `at`, on which a faulty proxy may stand, are to be led to the port `back`
    of a host."""

    front: int
    back: int
    host: str = HOST
    at: str = HOST


class Engine(ABC):
    """A server, or a cluster of them, over a directory of its own.

    directory: for data, logs and pid files; a temporary one, removed at the end, if None.
    lasting: the servers go on when this process ends; else they end with it, even if it is killed.
    A subclass fills `nodes` (in the order in which they start) and `doors` in `prepare`.
    """

    name: ClassVar[str]
    """The name by which it is asked for."""
    heavy: ClassVar[bool] = False
    """Whether it takes so much memory that it should not stay longer than it is needed."""

    def __init__(self, directory: Path | None = None, *, lasting: bool = False) -> None:
        self._temporary = directory is None
        self.directory = (directory or Path(tempfile.mkdtemp(prefix=f"evermq-{self.name}-"))).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.nodes: dict[str, Node] = {}
        self.doors: list[Door] = []
        self._lasting = lasting
        self._guard: subprocess.Popen[bytes] | None = None

    @classmethod
    @abstractmethod
    def install(cls) -> None:
        """Bring the server onto this machine if it is not there. Raises Missing."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Of the server, as 7.0.15; empty where it is not to be told."""

    @abstractmethod
    def prepare(self) -> None:
        """Write configuration, choose ports, and fill `nodes` and `doors`."""

    @abstractmethod
    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """The URL of a topic (of the place, without one). proxied: for clients that go through the doors' fronts."""

    def start(self) -> Self:
        """Install, prepare and start everything; returns when it answers. Raises Missing or Unavailable."""
        self.install()
        self.prepare()
        if not self._lasting:
            self._guard = subprocess.Popen(
                ["sh", "-c", _GUARD, str(self.directory), str(self.directory) if self._temporary else ""],
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            self.bring_up()
        except BaseException:
            self.stop()
            raise
        return self

    def bring_up(self) -> None:
        """Start all nodes at once and wait for each; where order matters, a subclass says so."""
        self.begin(self.nodes.values())

    @staticmethod
    def begin(nodes: Iterable[Node]) -> None:
        """Start nodes together, and return when all answer."""
        nodes = list(nodes)
        for node in nodes:
            node.begin()
        for node in nodes:
            node.until_ready()

    def stop(self) -> None:
        """End everything, in order where the directory stays; a temporary one goes, so its servers are just killed."""
        if self._temporary:
            for node in self.nodes.values():
                node.kill()
        else:
            self.bring_down()
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            self._guard.wait()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def bring_down(self) -> None:
        """End all nodes, asking all of them first: a quorum that is ended one by one stalls the last ones."""
        for node in self.nodes.values():
            node.ask_to_stop()
        for node in self.nodes.values():
            node.stop()

    def heal(self) -> None:
        """Thaw what is frozen and start what is down, and return when all answers."""
        for node in self.nodes.values():
            node.thaw()
        self.begin([node for node in self.nodes.values() if not node.pid])

    def leader(self, topic: str) -> Node:
        """The node that takes a topic's writes (those of its first lane) at the moment. Raises Unavailable if none."""
        [only] = self.nodes.values()
        return only

    def door(self, back: int) -> Door:
        """A new door to a port."""
        door = Door(free_port(), back)
        self.doors.append(door)
        return door

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [node.pid for node in self.nodes.values() if node.pid]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
