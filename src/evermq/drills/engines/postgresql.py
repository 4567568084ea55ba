"""PostgreSQL of Debian: one server, for progress and effects."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import debian, version_told
from evermq.drills.engines.ports import HOST, free_port
from evermq.errors import Unavailable

__all__ = ["PostgreSQL"]

_USER = "postgres"
# The server refuses to be run by root; the user that it is run by instead has to reach directories of root.
_NOT_ROOT = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
_MAY_REACH = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]


class PostgreSQL(Engine):
    """One server with a database and a user `evermq`, without a password."""

    name = "postgresql"

    def __init__(self, directory: Path | None = None, *, lasting: bool = False) -> None:
        super().__init__(directory, lasting=lasting)
        self.port = 0

    @classmethod
    def install(cls) -> None:
        """Debian's postgresql."""
        debian("postgres", "postgresql")

    @classmethod
    def version(cls) -> str:
        """As the server says."""
        return version_told("postgres", "--version")

    def prepare(self) -> None:
        """A new cluster of databases, one node, one door."""
        self.port = free_port()
        self.door(self.port)
        where = self.directory / "postgresql"
        where.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            subprocess.run(["chown", f"{_USER}:{_USER}", str(where)], check=True)
        data = where / "data"
        _run(where, "initdb", "--pgdata", str(data), "--username=evermq", "--auth=trust", "--encoding=UTF8")
        command = [*_tool("postgres"), "-D", str(data), "-p", str(self.port), "-h", HOST, "-k", str(where)]
        self.nodes = {"postgresql": Node("postgresql", where, command, self._ready, ready_s=60)}

    def bring_up(self) -> None:
        """The database, once the server answers."""
        super().bring_up()
        _run(self.directory, "createdb", "-h", HOST, "-p", str(self.port), "-U", "evermq", "evermq")

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """postgresql://evermq@host:port/evermq, whatever the topic."""
        return f"postgresql://evermq@{HOST}:{self.doors[0].front if proxied else self.port}/evermq"

    def _ready(self) -> bool:
        ask = [debian("pg_isready", "postgresql"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(ask, check=False).returncode == 0


def _tool(program: str) -> list[str]:
    command = [debian(program, "postgresql")]
    return [*_NOT_ROOT, *_MAY_REACH, *command] if os.geteuid() == 0 else command


def _run(where: Path, program: str, *options: str) -> None:
    done = subprocess.run([*_tool(program), *options], cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{program} failed: {done.stderr.strip()[-500:]}")
