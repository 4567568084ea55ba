"""Redis of Debian: one server."""

from __future__ import annotations

from pathlib import Path

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import debian
from evermq.drills.engines.ports import HOST, answers, free_port

__all__ = ["Redis"]

# An acknowledged write is on the disk, and nothing is evicted to make room.
_DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": '""'}


class Redis(Engine):
    """One server that syncs every write. settings: as in redis.conf; they take the place of ours."""

    name = "redis"

    def __init__(self, directory: Path | None = None, *, lasting: bool = False, **settings: str) -> None:
        super().__init__(directory, lasting=lasting)
        self._settings = settings

    @classmethod
    def install(cls) -> None:
        """Debian's redis-server."""
        debian("redis-server", "redis-server")

    def prepare(self) -> None:
        """One node, one door."""
        self.port = free_port()
        self.door(self.port)
        self.nodes = {"redis": self.server("redis", self.port, **self._settings)}

    def server(self, name: str, port: int, **settings: str) -> Node:
        """A server of its own directory and configuration."""
        where = self.directory / name
        where.mkdir(parents=True, exist_ok=True)
        said = {"bind": HOST, "port": str(port), "dir": str(where), "protected-mode": "no", **_DURABLE, **settings}
        lines = [f"{key.replace('_', '-')} {value}" for key, value in said.items()]
        (where / "redis.conf").write_text("\n".join([*lines, ""]))
        command = [debian("redis-server", "redis-server"), str(where / "redis.conf")]
        return Node(name, where, command, lambda: ready(port), ready_s=20)

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """redis://host:port/topic"""
        return f"redis://{HOST}:{self.doors[0].front if proxied else self.port}/{topic}"


def ready(port: int) -> bool:
    """Whether a server on a port has loaded its data and answers (a refusal for want of a password is an answer)."""
    return (answers(port, b"PING\r\n") or b"")[:7] in (b"+PONG\r\n", b"-NOAUTH")
