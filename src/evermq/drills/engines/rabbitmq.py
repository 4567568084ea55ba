"""RabbitMQ of Debian, with its management interface: one node, three nodes, and a secured one."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.engine import Door, Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import debian, version_told
from evermq.drills.engines.ports import HOST, answers, free_port
from evermq.errors import Unavailable

__all__ = ["ELSEWHERE", "RabbitMQ", "RabbitMQSecured", "RabbitMQThree"]

_HELLO = b"AMQP\x00\x00\x09\x01"
ELSEWHERE = "127.0.0.2"  # where the secured node listens too, and which its certificate does not name
_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one in the path wants to become another user


@dataclass(frozen=True, slots=True)
class _Member:
    """A node's number and ports: for clients, for clients behind a proxy, for its peers, for management."""

    number: int
    port: int = field(default_factory=free_port)
    front: int = field(default_factory=free_port)
    peers: int = field(default_factory=free_port)
    management: int = field(default_factory=free_port)

    @property
    def name(self) -> str:
        return f"rabbit-{self.number}"


class RabbitMQ(Engine):
    """One node; user guest, password guest, virtual host /.

    settings: lines of rabbitmq.conf.
    The directory of quorum queues is flushed half a second late, so a queue that is younger than that when all its
    nodes are killed comes back without a leader for ever: make queues a second or two before a fault.
    """

    name = "rabbitmq"
    members = 1

    def __init__(self, directory: Path | None = None, *, lasting: bool = False, settings: str = "") -> None:
        super().__init__(directory, lasting=lasting)
        self._given = settings
        self._members: list[_Member] = []
        self.user, self.password = "guest", "guest"

    @classmethod
    def install(cls) -> None:
        """Debian's rabbitmq-server."""
        debian("rabbitmq-server", "rabbitmq-server")

    @classmethod
    def version(cls) -> str:
        """Of Debian's package: the server itself would have to be started to say it."""
        return version_told("dpkg-query", "--show", "--showformat=${Version}", "rabbitmq-server")

    def prepare(self) -> None:
        """A name server for the nodes, and the nodes."""
        self._members = [_Member(number) for number in range(1, self.members + 1)]
        self.doors = [Door(member.front, member.port) for member in self._members]
        self._names = free_port()
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        self.secure()
        epmd = [debian("epmd", "rabbitmq-server"), "-port", str(self._names), "-address", HOST]
        self.nodes = {"epmd": Node("epmd", self.directory, epmd, lambda: answers(self._names) is not None)}
        self.nodes |= {member.name: self._node(member) for member in self._members}

    def secure(self) -> None:
        """Make keys and users, where there are to be any."""

    def listeners(self, member: _Member) -> str:
        """How clients come in."""
        return f"listeners.tcp.1 = {HOST}:{member.port}\n"

    @property
    def management(self) -> str:
        """host:port,… of the nodes' management interfaces, which are HTTP."""
        return ",".join(f"{HOST}:{each.management}" for each in self._members)

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """rabbitmq://host:port,…/topic in the virtual host /"""
        hosts = ",".join(f"{HOST}:{each.front if proxied else each.port}" for each in self._members)
        return f"rabbitmq://{hosts}/{topic}"

    def bring_up(self) -> None:
        """The first node founds the cluster, the others join it."""
        for name in ("epmd", "rabbit-1"):
            self.nodes[name].start()
        self.begin([node for name, node in self.nodes.items() if name not in ("epmd", "rabbit-1")])

    def leader(self, topic: str) -> Node:
        """The node that leads the first queue whose name holds the topic's."""
        for queue in self.ask("/api/queues"):
            if topic in queue["name"] and (leads := queue.get("leader") or queue.get("node")):
                return self.nodes[leads.partition("@")[0]]
        raise Unavailable(f"no queue of {topic} has a leader that is known at the moment")

    def ask(self, path: str, method: str = "GET", content: object = None) -> Any:
        """What the management interface of the first node that answers says. Raises Unavailable."""
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        for member in self._members:
            body = None if content is None else json.dumps(content).encode()
            asked = urllib.request.Request(f"http://{HOST}:{member.management}{path}", data=body, method=method)
            asked.add_header("Authorization", f"Basic {token}")
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    return json.loads(answer.read() or b"null")
            except OSError:  # refused, reset, no answer in time, or an answer that is an error
                continue
        raise Unavailable(f"no node answers {path}")

    def _node(self, member: _Member) -> Node:
        where = self.directory / member.name
        where.mkdir(parents=True, exist_ok=True)
        (where / "rabbitmq.conf").write_text(self._settings(member))
        (where / "plugins").write_text("[rabbitmq_management].\n")
        env = {
            "HOME": str(self.directory),  # of the cookie by which nodes know each other
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"{member.name}@localhost",
            "RABBITMQ_DIST_PORT": str(member.peers),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(where / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(where / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(where / "data"),
            "RABBITMQ_LOG_BASE": str(where / "logs"),
            "RABBITMQ_LOGS": "-",
        }
        return Node(member.name, where, [_SERVER], lambda: ready(member), env=env, ready_s=120, stop_s=20)

    def _settings(self, member: _Member) -> str:
        peers = [
            f"cluster_formation.classic_config.nodes.{each.number} = {each.name}@localhost" for each in self._members
        ]
        lines = [
            self.listeners(member).rstrip(),
            f"management.tcp.ip = {HOST}",
            f"management.tcp.port = {member.management}",
            "management.rates_mode = none",
            "collect_statistics_interval = 2000",
            "log.console.level = info",
            "disk_free_limit.absolute = 100MB",
            "vm_memory_high_watermark.absolute = 512MB",
            "cluster_formation.peer_discovery_backend = classic_config",
            "cluster_formation.randomized_startup_delay_range.min = 0",
            "cluster_formation.randomized_startup_delay_range.max = 1",
            "net_ticktime = 8",  # a frozen node counts as gone after so many seconds
            *(peers if self.members > 1 else ()),
            self._given,
        ]
        return "\n".join([*lines, ""])


class RabbitMQThree(RabbitMQ):
    """Three nodes in one cluster."""

    name = "rabbitmq-three"
    members = 3
    heavy = True


class RabbitMQSecured(RabbitMQ):
    """One node that wants TLS, with a virtual host `app` and no user guest.

    `admin` may do everything there; `app` only with queues and exchanges whose names begin with `app-`, and may
    publish to the default exchange.
    """

    name = "rabbitmq-secured"

    def secure(self) -> None:
        """Keys, and the users admin and app."""
        self.secrets = Secrets.make(self.directory / "secrets", ["admin", "app"])
        self.user, self.password = "admin", self.secrets.users["admin"]
        own = "^(app-.*|amq[.]default)$"
        users = {"admin": ("administrator", ".*"), "app": ("", own)}
        defined = {
            "vhosts": [{"name": "app"}],
            "users": [_user(user, self.secrets.users[user], tag) for user, (tag, _) in users.items()],
            "permissions": [
                {"user": user, "vhost": "app", "configure": names, "write": names, "read": names}
                for user, (_, names) in users.items()
            ],
        }
        (self.directory / "definitions.json").write_text(json.dumps(defined))

    def listeners(self, member: _Member) -> str:
        """By TLS only."""
        return (
            "listeners.tcp = none\n"
            f"listeners.ssl.1 = {HOST}:{member.port}\n"
            f"listeners.ssl.2 = {ELSEWHERE}:{member.port}\n"
            f"ssl_options.cacertfile = {self.secrets.ca}\n"
            f"ssl_options.certfile = {self.secrets.certificate}\n"
            f"ssl_options.keyfile = {self.secrets.key}\n"
            "ssl_options.verify = verify_none\n"
            f"load_definitions = {self.directory / 'definitions.json'}\n"
        )

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """rabbitmqs://host:port/app/topic"""
        member = self._members[0]
        return f"rabbitmqs://{HOST}:{member.front if proxied else member.port}/app/{topic}"


def ready(member: _Member) -> bool:
    """Whether a node greets its clients; one that wants TLS answers a plain greeting with an alert."""
    greets = (answers(member.port, _HELLO) or b"")[:1] in (b"\x01", b"\x15")
    return greets and answers(member.management) is not None


def _user(name: str, password: str, tag: str) -> dict[str, object]:
    salt = secrets.token_bytes(4)
    digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    return {
        "name": name,
        "password_hash": digest,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": [tag] if tag else [],
    }
