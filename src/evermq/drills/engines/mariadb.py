"""MariaDB of Debian: one server, for progress and effects."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import debian, version_told
from evermq.drills.engines.ports import HOST, answers, free_port
from evermq.errors import Unavailable

__all__ = ["MariaDB"]

_MADE = """CREATE DATABASE IF NOT EXISTS evermq;
CREATE USER IF NOT EXISTS 'evermq'@'%';
GRANT ALL ON evermq.* TO 'evermq'@'%';
"""


class MariaDB(Engine):
    """One server with a database and a user `evermq`, without a password."""

    name = "mariadb"

    def __init__(self, directory: Path | None = None, *, lasting: bool = False) -> None:
        super().__init__(directory, lasting=lasting)
        self.port = 0

    @classmethod
    def install(cls) -> None:
        """Debian's mariadb-server."""
        debian("mariadbd", "mariadb-server")

    @classmethod
    def version(cls) -> str:
        """As the server says."""
        return version_told("mariadbd", "--version")

    def prepare(self) -> None:
        """A new data directory, one node, one door."""
        self.port = free_port()
        self.door(self.port)
        where = self.directory / "mariadb"
        data, made = where / "data", where / "made.sql"
        where.mkdir(exist_ok=True)
        made.write_text(_MADE)
        own = [f"--datadir={data}", f"--user={pwd.getpwuid(os.geteuid()).pw_name}"]
        install = [debian("mariadb-install-db", "mariadb-server"), "--no-defaults", *own, "--skip-test-db"]
        done = subprocess.run(install, cwd=where, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"mariadb-install-db failed: {(done.stdout + done.stderr).strip()[-500:]}")
        command = [
            *(debian("mariadbd", "mariadb-server"), "--no-defaults", *own),
            *(f"--port={self.port}", f"--bind-address={HOST}", f"--socket={where / 'socket'}"),
            *(f"--pid-file={where / 'server.id'}", f"--init-file={made}", "--innodb-buffer-pool-size=64M"),
        ]
        self.nodes = {"mariadb": Node("mariadb", where, command, self._ready, ready_s=60)}

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """mariadb://evermq@host:port/evermq, whatever the topic."""
        return f"mariadb://evermq@{HOST}:{self.doors[0].front if proxied else self.port}/evermq"

    def _ready(self) -> bool:
        return answers(self.port) is not None
