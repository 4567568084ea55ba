"""Apache ZooKeeper 3.9 from Maven Central: one server, or three."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from evermq.drills.engines.engine import Door, Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import jars, java
from evermq.drills.engines.ports import HOST, answers, free_port
from evermq.errors import Unavailable

__all__ = ["ZooKeeper", "ZooKeeperThree"]

_VERSION = "3.9.4"
_ARTIFACTS = (
    f"org.apache.zookeeper:zookeeper:{_VERSION}",
    "io.dropwizard.metrics:metrics-core:4.1.12.1",  # the server wants these two, and its POM does not bring them
    "org.xerial.snappy:snappy-java:1.1.10.5",
    "org.slf4j:slf4j-simple:2.0.13",
)
_PINS = {"zookeeper-3.9.4.jar": "7bb3bb38bbddbc71424c59a7a0b170a1b2147313a84c972225ab0568dab513bf"}
_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_JVM = ("-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true")
_SETTINGS = """
tickTime=500
initLimit=20
syncLimit=6
maxSessionTimeout=60000
maxClientCnxns=0
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=srvr,ruok
quorumListenOnAllIPs=false
"""


@dataclass(frozen=True, slots=True)
class _Member:
    number: int
    port: int = field(default_factory=free_port)
    front: int = field(default_factory=free_port)
    peers: int = field(default_factory=free_port)
    election: int = field(default_factory=free_port)


class ZooKeeper(Engine):
    """One server that stands alone."""

    name = "zookeeper"
    members = 1

    def __init__(self, directory: Path | None = None, *, lasting: bool = False) -> None:
        super().__init__(directory, lasting=lasting)
        self._members: list[_Member] = []

    @classmethod
    def install(cls) -> None:
        """ZooKeeper's jars, and a Java to run them."""
        java()
        jars(f"zookeeper-{_VERSION}", _ARTIFACTS, _PINS)

    @classmethod
    def version(cls) -> str:
        """Of the jars."""
        return _VERSION

    def prepare(self) -> None:
        """Members and their configuration."""
        self._members = [_Member(number) for number in range(1, self.members + 1)]
        self.doors = [Door(member.front, member.port) for member in self._members]
        self.nodes = {f"zookeeper-{member.number}": self._node(member) for member in self._members}

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """zookeeper://host:port,…/topic"""
        hosts = ",".join(f"{HOST}:{each.front if proxied else each.port}" for each in self._members)
        return f"zookeeper://{hosts}/{topic}"

    def leader(self, topic: str = "") -> Node:
        """The leader of the ensemble, or the only server."""
        for member, node in zip(self._members, self.nodes.values(), strict=True):
            if node.pid and mode(member.port) in ("leader", "standalone"):
                return node
        raise Unavailable("no server leads at the moment")

    def _node(self, member: _Member) -> Node:
        where = self.directory / f"zookeeper-{member.number}"
        (where / "data").mkdir(parents=True, exist_ok=True)
        (where / "data" / "myid").write_text(str(member.number))
        lines = [_SETTINGS.strip(), f"dataDir={where / 'data'}", f"clientPort={member.port}"]
        if self.members > 1:
            lines += [f"server.{each.number}={HOST}:{each.peers}:{each.election}" for each in self._members]
        (where / "zoo.cfg").write_text("\n".join([*lines, ""]))
        library = jars(f"zookeeper-{_VERSION}", _ARTIFACTS, _PINS)
        options = [*_JVM, f"-Djava.io.tmpdir={self.directory}", "-cp", f"{library}/*"]
        command = [java(), *options, _MAIN, str(where / "zoo.cfg")]
        return Node(where.name, where, command, lambda: bool(mode(member.port)), ready_s=60)


class ZooKeeperThree(ZooKeeper):
    """An ensemble of three."""

    name = "zookeeper-three"
    members = 3


def mode(port: int) -> str:
    """leader, follower or standalone; empty where a server does not serve."""
    said = (answers(port, b"srvr") or b"").decode(errors="replace")
    return said.partition("Mode: ")[2].split("\n")[0].strip()
