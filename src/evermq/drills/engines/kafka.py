"""Apache Kafka 4.3 (KRaft) from Maven Central: one node, three nodes in three racks, and secured ones.

The short time-outs let a leader be replaced in three to four seconds; they are for drills, not for production.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.engine import Door, Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import jars, java
from evermq.drills.engines.ports import HOST, answers, free_port
from evermq.errors import Unavailable

__all__ = ["Kafka", "KafkaPlain", "KafkaSecured", "KafkaThree", "Member"]

_VERSION = "4.3.1"
_LOG4J = "2.24.3"  # Kafka's own POM names no logging backend
_WITHOUT = " -org.apache.kafka:connect-runtime"
_ARTIFACTS = (
    f"org.apache.kafka:kafka_2.13:{_VERSION}",
    f"org.apache.kafka:kafka-tools:{_VERSION}{_WITHOUT}",
    f"org.apache.logging.log4j:log4j-core:{_LOG4J}",
    f"org.apache.logging.log4j:log4j-slf4j-impl:{_LOG4J}",
)
_PINS = {
    "kafka_2.13-4.3.1.jar": "b098abef5ff878e76f60cd6c559b9baa5663ccb1b55f2837558b22c329d32423",
    "kafka-clients-4.3.1.jar": "52501b7b47510c66f898871adaf6d2968ab7246561d44ced43643a8a587f0b36",
    "kafka-server-4.3.1.jar": "01d736599ec3b0cdbb0480c15219170b28cdae189785e7f0c6f1f26e528eaebc",
}
_SETTINGS = """
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
replica.lag.time.max.ms=5000
unclean.leader.election.enable=false
auto.leader.rebalance.enable=false
auto.create.topics.enable=false
offsets.topic.num.partitions=3
transaction.state.log.num.partitions=3
share.coordinator.state.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=3
num.replica.fetchers=1
background.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
log.segment.bytes=33554432
log.index.size.max.bytes=1048576
log.retention.hours=2
replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector
"""
_LOG = """
status=warn
appender.out.type=Console
appender.out.name=OUT
appender.out.target=SYSTEM_ERR
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=${sys:loglevel:-info}
rootLogger.appenderRef.out.ref=OUT
logger.clients.name=org.apache.kafka.clients.NetworkClient
logger.clients.level=error
"""
_JVM = ("-XX:+UseSerialGC", "-XX:MaxMetaspaceSize=160m", "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true")
_SERVER_JVM = ("-Xms128m", "-Xmx320m", "-XX:MaxDirectMemorySize=128m", "-XX:TieredStopAtLevel=4")


@dataclass(frozen=True, slots=True)
class Member:
    """A node's number and ports: for clients and brokers, for clients behind a proxy, for the quorum."""

    number: int
    port: int = field(default_factory=free_port)
    door: Door = field(default_factory=lambda: Door(free_port(), free_port()))
    quorum: int = field(default_factory=free_port)


class Kafka(Engine):
    """One node.

    settings: of server.properties, with `_` for `.`; they take the place of ours.
    """

    name = "kafka"
    members = 1
    protocol = "PLAINTEXT"
    quorum_protocol = "PLAINTEXT"

    def __init__(self, directory: Path | None = None, *, lasting: bool = False, **settings: str) -> None:
        super().__init__(directory, lasting=lasting)
        self._given = settings
        self._members: list[Member] = []

    @classmethod
    def install(cls) -> None:
        """Kafka's jars, and a Java to run them."""
        java()
        cls.jars()

    @classmethod
    def version(cls) -> str:
        """Of the jars."""
        return _VERSION

    @staticmethod
    def jars() -> Path:
        """The directory of the jars."""
        return jars(f"kafka-{_VERSION}", _ARTIFACTS, _PINS)

    def prepare(self) -> None:
        """Members, configuration, formatted directories."""
        self._members = [Member(number) for number in range(1, self.members + 1)]
        self.doors = [member.door for member in self._members]
        self.secure()
        (self.directory / "log4j2.properties").write_text(_LOG)
        (self.directory / "client.properties").write_text(_lines(self.client_settings()))
        self.nodes = {f"kafka-{member.number}": self._node(member) for member in self._members}
        self._format()

    def secure(self) -> None:
        """Make keys and passwords, where there are to be any."""

    def security_settings(self) -> dict[str, str]:
        """What the servers are told of security."""
        return {}

    def client_settings(self) -> dict[str, str]:
        """What Kafka's own tools are told, as the administrator."""
        return {"bootstrap.servers": self.bootstrap()}

    def format_arguments(self) -> list[str]:
        """More for the format of the directories."""
        return []

    def bootstrap(self, *, proxied: bool = False) -> str:
        """host:port of every member."""
        return ",".join(f"{HOST}:{member.door.front if proxied else member.port}" for member in self._members)

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """kafka://host:port,…/topic"""
        return f"kafka://{self.bootstrap(proxied=proxied)}/{topic}"

    def leader(self, topic: str) -> Node:
        """The leader of partition 0."""
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.bootstrap(), "log_level": 0})
        partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions
        if not partitions or partitions[0].leader < 0:
            raise Unavailable(f"partition 0 of {topic} has no leader at the moment")
        return self.nodes[f"kafka-{partitions[0].leader}"]

    def tool(self, name: str, *arguments: str) -> str:
        """Run one of Kafka's tools, which is a JVM of two seconds, and return what it said. Raises Unavailable."""
        command = [*self._java("-Xmx256m", "-Dloglevel=warn"), name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise Unavailable(f"{name} ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
        return done.stdout

    def _java(self, *options: str) -> list[str]:
        log = f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}"
        return [java(), *_JVM, f"-Djava.io.tmpdir={self.directory}", *options, log, "-cp", f"{self.jars()}/*"]

    def _node(self, member: Member) -> Node:
        where = self.directory / f"kafka-{member.number}"
        where.mkdir(parents=True, exist_ok=True)
        (where / "server.properties").write_text(_lines(self.server_settings(member, where)))
        options = (*_SERVER_JVM, *self.server_options(member, where))
        command = [*self._java(*options), "kafka.Kafka", str(where / "server.properties")]
        node = Node(where.name, where, command, lambda: ready(node, member), ready_s=90, stop_s=25)
        return node

    def server_options(self, member: Member, where: Path) -> list[str]:
        """More for the Java of a node."""
        return []

    def server_settings(self, member: Member, where: Path) -> dict[str, str]:
        """The node's server.properties."""
        copies = str(self.members)
        in_sync = str(max(1, self.members - 1))
        direct = f"CLIENT://{HOST}:{member.port}"
        protocols = f"QUORUM:{self.quorum_protocol},CLIENT:{self.protocol},FRONT:{self.protocol}"
        own = {
            "process.roles": "broker,controller",
            "node.id": str(member.number),
            "broker.rack": f"dc{member.number}",
            "log.dirs": str(where / "data"),
            "controller.quorum.voters": ",".join(f"{each.number}@{HOST}:{each.quorum}" for each in self._members),
            "controller.listener.names": "QUORUM",
            "inter.broker.listener.name": "CLIENT",
            "listeners": f"{direct},FRONT://{HOST}:{member.door.back},QUORUM://{HOST}:{member.quorum}",
            "advertised.listeners": f"{direct},FRONT://{HOST}:{member.door.front}",
            "listener.security.protocol.map": protocols,
            "min.insync.replicas": in_sync,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.min.isr": in_sync,
            "default.replication.factor": copies,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "share.coordinator.state.topic.replication.factor": copies,
        }
        ours = dict(line.split("=", 1) for line in _SETTINGS.split())
        given = {key.replace("_", "."): value for key, value in self._given.items()}
        return {**ours, **own, **self.security_settings(), **given}

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        fresh = [node.directory for node in self.nodes.values() if not (node.directory / "data").exists()]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda directory: self._storage(cluster, directory / "server.properties"), fresh))

    def _storage(self, cluster: str, properties: Path) -> None:
        arguments = ["format", "-t", cluster, "-c", str(properties), *self.format_arguments()]
        self.tool("kafka.tools.StorageTool", *arguments)


class KafkaThree(Kafka):
    """Three nodes in racks dc1, dc2 and dc3; three copies of everything, of which two must be in sync."""

    name = "kafka-three"
    members = 3
    heavy = True


class KafkaSecured(Kafka):
    """One node that wants TLS and SCRAM-SHA-512.

    `admin` may do everything; `app` only with topics and groups whose names begin with `app-`.
    """

    name = "kafka-secured"
    protocol = "SASL_SSL"
    quorum_protocol = "SSL"

    def secure(self) -> None:
        """Keys, and the users admin and app."""
        self.secrets = Secrets.make(self.directory / "secrets", ["admin", "app"])

    def security_settings(self) -> dict[str, str]:
        """TLS for everybody, certificates of both sides in the quorum, SCRAM for clients, rights for users."""
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.secrets.bundle),
            **self._trust(),
            "listener.name.quorum.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": self._login("admin"),
            "listener.name.front.scram-sha-512.sasl.jaas.config": self._login("admin"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:CN=evermq-drill-node",
        }

    def client_settings(self) -> dict[str, str]:
        """As the administrator."""
        secured = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
        return {**super().client_settings(), **secured, **self._trust(), "sasl.jaas.config": self._login("admin")}

    def format_arguments(self) -> list[str]:
        """The users, who are part of the metadata."""
        users = self.secrets.users.items()
        return [
            each
            for user, password in users
            for each in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
        ]

    def url(self, topic: str = "", *, proxied: bool = False, user: str = "app") -> str:
        """kafka://host:port/topic with the user, the password's file and the authority."""
        secured = "security.protocol=SASL_SSL&sasl.mechanism=SCRAM-SHA-512"
        login = f"username={user}&password=file:{self.secrets.password_file(user)}"
        return f"{super().url(topic, proxied=proxied)}?{secured}&{login}&ssl.ca.location={self.secrets.ca}"

    def bring_up(self) -> None:
        """Start, and give app its rights."""
        super().bring_up()
        server = ["--bootstrap-server", self.bootstrap(), "--command-config", str(self.directory / "client.properties")]
        rights = ["--add", "--allow-principal", "User:app", "--operation", "All", "--resource-pattern-type", "prefixed"]
        self.tool("org.apache.kafka.tools.AclCommand", *server, *rights, "--topic", "app-", "--group", "app-")

    def _trust(self) -> dict[str, str]:
        return {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(self.secrets.ca)}

    def _login(self, user: str) -> str:
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return f'{module} required username="{user}" password="{self.secrets.users[user]}";'


class KafkaPlain(Kafka):
    """One node that wants SASL PLAIN without TLS; users admin and app, who may both do everything."""

    name = "kafka-plain"
    protocol = "SASL_PLAINTEXT"

    def secure(self) -> None:
        """The users."""
        self.secrets = Secrets.make(self.directory / "secrets", ["admin", "app"])

    def security_settings(self) -> dict[str, str]:
        """PLAIN for clients and between brokers."""
        users = " ".join(f'user_{user}="{password}"' for user, password in self.secrets.users.items())
        login = self._login("admin").replace(";", f" {users};")
        return {
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": login,
            "listener.name.front.plain.sasl.jaas.config": login,
        }

    def url(self, topic: str = "", *, proxied: bool = False, user: str = "app") -> str:
        """kafka://host:port/topic with the user and the password's file."""
        secured = "security.protocol=SASL_PLAINTEXT&sasl.mechanism=PLAIN"
        login = f"username={user}&password=file:{self.secrets.password_file(user)}"
        return f"{super().url(topic, proxied=proxied)}?{secured}&{login}"

    def client_settings(self) -> dict[str, str]:
        """As the administrator."""
        secured = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
        return {**super().client_settings(), **secured, "sasl.jaas.config": self._login("admin")}

    def _login(self, user: str) -> str:
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        return f'{module} required username="{user}" password="{self.secrets.users[user]}";'


def ready(node: Node, member: Member) -> bool:
    """Whether the broker is registered and serves clients."""
    return node.said("Kafka Server started") and answers(member.port) is not None


def _lines(settings: dict[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in settings.items())
