"""Redis of Debian: one server, master and replica under Sentinels, a cluster, and a secured server."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import debian, version_told
from evermq.drills.engines.ports import HOST, answers, free_port, free_ports
from evermq.errors import Unavailable

__all__ = ["Redis", "RedisCluster", "RedisSecured", "RedisSentinel"]

_WORDS = (b"+PONG", b"-NOAUTH")  # a refusal for want of a password is an answer
# An acknowledged write is on the disk, and nothing is evicted to make room.
_DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": '""'}

_AT_ONCE = {"repl-diskless-sync-delay": "0"}  # else a replica that comes back is not copied to for five seconds


class Redis(Engine):
    """One server that syncs every write.

    settings: of redis.conf, with `_` for `-`; they take the place of ours.
    """

    name = "redis"

    def __init__(self, directory: Path | None = None, *, lasting: bool = False, **settings: str) -> None:
        super().__init__(directory, lasting=lasting)
        self._given = {key.replace("_", "-"): value for key, value in settings.items()}
        self.port = 0

    @classmethod
    def install(cls) -> None:
        """Debian's redis-server."""
        debian("redis-server", "redis-server")

    @classmethod
    def version(cls) -> str:
        """As the server says."""
        return version_told("redis-server", "--version")

    def prepare(self) -> None:
        """One node, one door."""
        self.port = free_port()
        self.door(self.port)
        self.nodes = {"redis": self.server("redis", self.port, {})}

    def server(self, name: str, port: int, settings: dict[str, str]) -> Node:
        """A server of its own directory and configuration."""
        where = self.directory / name
        said = {"bind": HOST, "port": str(port), "dir": str(where), "protected-mode": "no", **_DURABLE}
        path = _written(where / "redis.conf", {**said, **settings, **self._given})
        return Node(name, where, [debian("redis-server", "redis-server"), str(path)], lambda: ready(port), ready_s=20)

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """redis://host:port/topic"""
        return f"redis://{HOST}:{self.doors[0].front if proxied else self.port}/{topic}"


class RedisSentinel(Redis):
    """A master, a replica, and three Sentinels that promote the replica two seconds after the master went silent.

    The Sentinels lead clients to the servers themselves, past any proxy.
    """

    name = "redis-sentinel"
    master = "main"

    def prepare(self) -> None:
        """redis-1 begins as the master."""
        first, second = self._ports = free_ports(2)
        self._sentinels = free_ports(3)
        for port in (*self._ports, *self._sentinels):
            self.door(port)
        self.nodes = {
            "redis-1": self.server("redis-1", first, _AT_ONCE),
            "redis-2": self.server("redis-2", second, {**_AT_ONCE, "replicaof": f"{HOST} {first}"}),
        }
        self.nodes |= {f"sentinel-{i}": self._sentinel(f"sentinel-{i}", p) for i, p in enumerate(self._sentinels, 1)}

    def _sentinel(self, name: str, port: int) -> Node:
        where = self.directory / name
        path = where / "sentinel.conf"
        _written(path, {"bind": HOST, "port": str(port), "dir": str(where), "protected-mode": "no"})
        lines = [
            f"monitor {self.master} {HOST} {self._ports[0]} 2",
            f"down-after-milliseconds {self.master} 2000",
            f"failover-timeout {self.master} 6000",
        ]
        with path.open("a") as file:
            file.writelines(f"sentinel {line}\n" for line in lines)
        command = [debian("redis-server", "redis-server"), str(path), "--sentinel"]
        return Node(name, where, command, lambda: self._watches(port), ready_s=30)

    def _watches(self, port: int) -> bool:
        """Whether a Sentinel knows the others and a replica to promote."""
        quorum = answers(port, f"SENTINEL CKQUORUM {self.master}\r\n".encode()) or b""
        replicas = answers(port, f"SENTINEL REPLICAS {self.master}\r\n".encode()) or b""
        return quorum.startswith(b"+OK") and replicas.startswith(b"*1")

    def bring_up(self) -> None:
        """The Sentinels last: one that finds no replica looks again only ten seconds later."""
        servers = [node for name, node in self.nodes.items() if name.startswith("redis")]
        self.begin(servers)
        end = time.monotonic() + 30
        while b"state=online" not in (answers(self._ports[0], b"INFO replication\r\n") or b""):
            if time.monotonic() > end:
                raise Unavailable(f"the replica does not follow: {servers[1].tail()}")
            time.sleep(0.05)
        self.begin([node for node in self.nodes.values() if node not in servers])

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """redis://sentinel:port,…/topic?sentinel=main"""
        hosts = ",".join(f"{HOST}:{port}" for port in self._sentinels)
        return f"redis://{hosts}/{topic}?sentinel={self.master}"

    def leader(self, topic: str = "") -> Node:
        """The master, as the Sentinels see it."""
        ask = f"SENTINEL GET-MASTER-ADDR-BY-NAME {self.master}\r\n".encode()
        said = [answer for port in self._sentinels if (answer := answers(port, ask))]
        for number, port in enumerate(self._ports, 1):
            if any(f"\r\n{port}\r\n".encode() in answer for answer in said):
                return self.nodes[f"redis-{number}"]
        raise Unavailable("no Sentinel names a master at the moment")


class RedisCluster(Redis):
    """A cluster of three masters without replicas: while one is down, its third of the keys is."""

    name = "redis-cluster"

    def prepare(self) -> None:
        """Three nodes that do not know each other yet."""
        self._ports = free_ports(3)
        for port in self._ports:
            self.door(port)
        self.nodes = {f"redis-{i}": self._member(f"redis-{i}", port) for i, port in enumerate(self._ports, 1)}

    def _member(self, name: str, port: int) -> Node:
        settings = {"cluster-enabled": "yes", "cluster-port": str(port + 1), "cluster-node-timeout": "3000"}
        return self.server(name, port, {**settings, "cluster-require-full-coverage": "no"})

    def bring_up(self) -> None:
        """Start them, and join them into one cluster."""
        super().bring_up()
        hosts = [f"{HOST}:{port}" for port in self._ports]
        command = [debian("redis-cli", "redis-tools"), "--cluster", "create", *hosts, "--cluster-yes"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        end = time.monotonic() + 30
        while not all(b"cluster_state:ok" in (answers(port, b"CLUSTER INFO\r\n") or b"") for port in self._ports):
            if time.monotonic() > end:
                raise Unavailable(f"the cluster was not formed: {done.stdout[-500:]}{done.stderr[-500:]}")
            time.sleep(0.1)

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """redis://host:port,…/topic?cluster=yes"""
        return f"redis://{','.join(f'{HOST}:{port}' for port in self._ports)}/{topic}?cluster=yes"

    def leader(self, topic: str = "") -> Node:
        """A topic is spread over all nodes; this is one of them."""
        return self.nodes["redis-1"]


class RedisSecured(Redis):
    """One server that speaks TLS only and wants a user.

    `admin` may do everything; `app` may not administer, and has no keys but those of topics whose names begin with
    `app-`.
    """

    name = "redis-secured"

    def prepare(self) -> None:
        """Keys and users, then the node."""
        self.secrets = Secrets.make(self.directory / "secrets", ["admin", "app"])
        admin, app = self.secrets.users["admin"], self.secrets.users["app"]
        self.port = free_port()
        self.door(self.port)
        keys = "~evermq:{app-* ~evermq:topics &*"
        users = self.secrets.directory / "users.acl"
        users.write_text(
            "user default off\n"
            f"user admin on >{admin} ~* &* +@all\n"
            f"user app on >{app} {keys} +@all -@dangerous +info +config|get\n"
        )
        settings = {
            "port": "0",
            "tls-port": str(self.port),
            "tls-cert-file": str(self.secrets.certificate),
            "tls-key-file": str(self.secrets.key),
            "tls-ca-cert-file": str(self.secrets.ca),
            "tls-auth-clients": "no",
            "aclfile": str(users),
        }
        node = self.server("redis", self.port, settings)
        self.nodes = {"redis": Node("redis", node.directory, node.command, self._accepts, ready_s=20)}

    def _accepts(self) -> bool:
        return answers(self.port) is not None and self.nodes["redis"].said("Ready to accept connections")

    def url(self, topic: str = "", *, proxied: bool = False, user: str = "app") -> str:
        """rediss://host:port/topic with the user, the password's file and the authority."""
        port = self.doors[0].front if proxied else self.port
        login = f"username={user}&password=file:{self.secrets.password_file(user)}&ca={self.secrets.ca}"
        return f"rediss://{HOST}:{port}/{topic}?{login}"


def ready(port: int) -> bool:
    """Whether a server on a port has loaded its data and answers."""
    return (answers(port, b"PING\r\n") or b"").startswith(_WORDS)


def _written(path: Path, settings: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    return path
