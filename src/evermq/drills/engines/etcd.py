"""etcd of Debian: one server."""

from __future__ import annotations

from pathlib import Path

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import debian, version_told
from evermq.drills.engines.ports import HOST, answers, free_port

__all__ = ["Etcd"]


class Etcd(Engine):
    """One server."""

    name = "etcd"

    def __init__(self, directory: Path | None = None, *, lasting: bool = False) -> None:
        super().__init__(directory, lasting=lasting)
        self.port = 0

    @classmethod
    def install(cls) -> None:
        """Debian's etcd-server."""
        debian("etcd", "etcd-server")

    @classmethod
    def version(cls) -> str:
        """As the server says."""
        return version_told("etcd", "--version")

    def prepare(self) -> None:
        """One node, one door."""
        self.port = free_port()
        peers = f"http://{HOST}:{free_port()}"
        clients = f"http://{HOST}:{self.port}"
        self.door(self.port)
        where = self.directory / "etcd"
        settings = {
            "name": "etcd",
            "data-dir": str(where / "data"),
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"etcd={peers}",
        }
        command = [debian("etcd", "etcd-server"), *(f"--{key}={value}" for key, value in settings.items())]
        self.nodes = {"etcd": Node("etcd", where, command, self._ready, ready_s=30)}

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """etcd://host:port/topic"""
        return f"etcd://{HOST}:{self.doors[0].front if proxied else self.port}/{topic}"

    def _ready(self) -> bool:
        return b'"true"' in (answers(self.port, b"GET /health HTTP/1.0\r\n\r\n") or b"")
