"""Apache RocketMQ 5.4 from Maven Central: name server, broker and proxy; and a secured one.

The proxies' gRPC port and the port by which brokers copy to each other have no option for an address: they listen on
all interfaces.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.packages import jars, java
from evermq.drills.engines.ports import HOST, answers, free_port
from evermq.drills.engines.remoting import CLUSTER, TOPIC, ask
from evermq.errors import Unavailable

__all__ = ["CLUSTER_NAME", "RocketMQ", "RocketMQSecured"]

_VERSION = "5.4.0"  # slaves of 5.3.2 and 5.3.3 lose typed topics (apache/rocketmq#9403)
_ARTIFACTS = tuple(
    f"org.apache.rocketmq:rocketmq-{each}:{_VERSION}" for each in ("namesrv", "broker", "controller", "proxy", "tools")
)
_PINS = {
    "rocketmq-broker-5.4.0.jar": "bcfc93df212e807b6e5bd27f8c5d9062583f2eefc26d991db877c2f8adca7114",
    "rocketmq-proxy-5.4.0.jar": "fd0b2c2a25ff638865a751b3a27d5f04f363dce378a424b416bb713aa11098c0",
    "rocketmq-namesrv-5.4.0.jar": "040287c2e52bd9561a8c59c5a33e7ceb879c8dc1bfd78be827493a1e92db7634",
}
CLUSTER_NAME = "DefaultCluster"
_LOG = """<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %p %logger{20} %m%n</pattern></encoder>
  </appender>
  <logger name="RocketmqTransaction" level="ERROR"/>
  <root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
"""
# What Java 17 has to open for RocketMQ (apache/rocketmq#9887, #10170).
_OPENS = tuple(
    f"--add-{how}=java.base/{package}=ALL-UNNAMED"
    for how, package in (
        ("opens", "java.lang"),
        ("opens", "java.util"),
        ("opens", "java.nio"),
        ("opens", "sun.nio.ch"),
        ("exports", "sun.nio.ch"),
        ("opens", "jdk.internal.ref"),
        ("exports", "jdk.internal.ref"),
    )
)
_JVM = (
    "-Xms64m",
    "-XX:MaxMetaspaceSize=192m",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:+UseSerialGC",
    "-Djava.net.preferIPv4Stack=true",
)
_STORE = {
    "mappedFileSizeCommitLog": "67108864",
    "mappedFileSizeConsumeQueue": "600000",
    "maxHashSlotNum": "200000",
    "maxIndexNum": "800000",
    "diskMaxUsedSpaceRatio": "88",
    "fileReservedTime": "2",
    "autoCreateTopicEnable": "false",
    "autoCreateSubscriptionGroup": "false",
    "recallMessageEnable": "true",
    "transactionCheckInterval": "3000",
    "transactionOpBatchInterval": "500",
    "registerNameServerPeriod": "10000",
}
# Else a reader whose connection breaks may cost its group a message.
_RECORDS = {"popConsumerKVServiceInit": "true", "popConsumerKVServiceEnable": "true"}
_AUTH = "org.apache.rocketmq.auth"


class RocketMQ(Engine):
    """A name server, and one process that is broker and proxy; a send is answered after it was flushed.

    settings: of broker.conf; they take the place of ours.
    """

    name = "rocketmq"
    log = _LOG

    def __init__(self, directory: Path | None = None, *, lasting: bool = False, **settings: str) -> None:
        super().__init__(directory, lasting=lasting)
        self.given = settings
        self.name_ports: list[int] = []

    @classmethod
    def install(cls) -> None:
        """RocketMQ's jars, and a Java to run them."""
        java()
        cls.jars()

    @classmethod
    def version(cls) -> str:
        """Of the jars."""
        return _VERSION

    @staticmethod
    def jars() -> Path:
        """The directory of the jars."""
        return jars(f"rocketmq-{_VERSION}", _ARTIFACTS, _PINS)

    def prepare(self) -> None:
        """Ports, configuration, and the two processes."""
        (self.directory / "logback.xml").write_text(self.log)
        self.name_ports, self.grpc_port, self.broker_port = [free_port()], free_port(), free_port() + 3
        self.door(self.grpc_port)
        self.secure()
        where = self.directory / "server"
        proxy = self.proxy_file(where, self.grpc_port, "LOCAL")
        broker = self.broker_settings(where, self.broker_port)
        own = {"brokerName": "broker-a", "brokerId": "0", "brokerRole": "ASYNC_MASTER", **self.broker_security()}
        conf = written(where / "broker.conf", {**broker, **_RECORDS, **own, **self.given})
        main = ["org.apache.rocketmq.proxy.ProxyStartup", "-pc", str(proxy), "-pm", "local", "-bc", str(conf)]
        main += ["-n", self.name_servers]
        self.nodes = {
            "name": self.name_server("name", self.name_ports[0], {}),
            "server": self.process("server", "512m", main, self._serves, ready_s=120),
        }

    def secure(self) -> None:
        """Make users, where there are to be any."""

    def broker_security(self) -> dict[str, str]:
        """What the broker is told of security."""
        return {}

    def proxy_security(self) -> dict[str, object]:
        """What the proxy is told of security."""
        return {}

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """rocketmq://host:port/topic?name_servers=…, of the proxies' gRPC ports"""
        port = self.doors[0].front if proxied else self.grpc_port
        return f"rocketmq://{HOST}:{port}/{topic}?name_servers={self._names}"

    @property
    def _names(self) -> str:
        """host:port,… for URLs."""
        return self.name_servers.replace(";", ",")

    def bring_up(self) -> None:
        """The name server first."""
        for node in self.nodes.values():
            node.start()

    def leader(self, topic: str = "") -> Node:
        """The process that is the broker."""
        return self.nodes["server"]

    @property
    def name_servers(self) -> str:
        """host:port;… for RocketMQ's own tool."""
        return ";".join(f"{HOST}:{port}" for port in self.name_ports)

    def create(self, topic: str, *, kind: str = "NORMAL", queues: int = 4) -> None:
        """Make a topic of a message type (NORMAL, FIFO, DELAY, TRANSACTION) on the master. Raises Unavailable."""
        fields = {
            "topic": topic,
            "defaultTopic": "TBW102",
            "readQueueNums": str(queues),
            "writeQueueNums": str(queues),
            "perm": "6",
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": "0",
            "order": "false",
            "attributes": f"+message.type={kind}",
        }
        answer = ask(self.master_port(), TOPIC, fields)
        if answer.code:
            raise Unavailable(f"{topic} was not made: {answer.code} {answer.remark}")

    def master_port(self) -> int:
        """The port of the master broker, as a name server knows it. Raises Unavailable."""
        for port in self.name_ports:
            try:
                found = re.search(rb'[{,]"?0"?:"[^":]*:(\d+)"', ask(port, CLUSTER).body)
            except Unavailable:
                continue
            if found:
                return int(found[1])
        raise Unavailable("no name server knows a master at the moment")

    def tool(self, *arguments: str) -> str:
        """Run RocketMQ's own tool, a JVM of five seconds, and return what it said; its exit status says nothing."""
        main = [*self.java("tool", "128m"), "org.apache.rocketmq.tools.command.MQAdminStartup", *arguments]
        command = [*main, "-n", self.name_servers]
        env = {"ROCKETMQ_HOME": str(self.directory), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL)
        return done.stdout + done.stderr

    def java(self, name: str, heap: str) -> list[str]:
        """The beginning of a command line; RocketMQ writes under the home directory that is given here."""
        logs = f"-Drmq.logback.configurationFile={self.directory / 'logback.xml'}"
        homes = [f"-Duser.home={self.directory / name}", f"-Djava.io.tmpdir={self.directory}", logs]
        return [java(), f"-Xmx{heap}", *_JVM, *_OPENS, *homes, "-cp", f"{self.jars()}/*"]

    def process(self, name: str, heap: str, main: list[str], ready: Callable[[], bool], *, ready_s: float = 90) -> Node:
        """A node; each has a home of its own, since a proxy looks for its configuration there as well."""
        env = {"ROCKETMQ_HOME": str(self.directory / name)}
        return Node(name, self.directory / name, [*self.java(name, heap), *main], ready, env=env, ready_s=ready_s)

    def name_server(
        self, name: str, port: int, settings: Mapping[str, str], ready: Callable[[], bool] | None = None
    ) -> Node:
        """A name server."""
        conf = written(self.directory / name / "name.conf", {"listenPort": str(port), "bindAddress": HOST, **settings})
        main = ["org.apache.rocketmq.namesrv.NamesrvStartup", "-c", str(conf)]
        return self.process(name, "160m", main, ready or (lambda: answers(port) is not None))

    def broker_settings(self, where: Path, port: int) -> dict[str, str]:
        """What every broker is told. It opens the port, the one behind it, and the second before it."""
        return {
            **_STORE,
            "flushDiskType": "SYNC_FLUSH",
            "storePathRootDir": str(where / "store"),
            "listenPort": str(port),
            "brokerIP1": HOST,
            "brokerIP2": HOST,
            "bindAddress": HOST,
            "namesrvAddr": self.name_servers,
            "brokerClusterName": CLUSTER_NAME,
        }

    def proxy_file(self, where: Path, port: int, mode: str) -> Path:
        """The configuration of a proxy, in the place where it looks for it."""
        content = {
            "rocketMQClusterName": CLUSTER_NAME,
            "proxyName": where.name,
            "proxyMode": mode,
            "localServeAddr": HOST,
            "namesrvAddr": self.name_servers,
            "grpcServerPort": port,
            "remotingListenPort": port + 1,
            "useEndpointPortFromRequest": True,  # so clients behind a faulty proxy are led back to it
            "topicRouteServiceCacheRefreshSeconds": 2,
            "topicRouteServiceCacheExpiredSeconds": 20,
            "minInvisibleTimeMillsForRecv": 1000,
            "grpcClientConsumerMinLongPollingTimeoutMillis": 100,
            "metadataThreadPoolNums": 2,
            "grpcThreadPoolNums": 8,
            **self.proxy_security(),
        }
        path = where / "conf" / "rmq-proxy.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    def _serves(self) -> bool:
        """The proxy's port is open, and the name server knows the broker."""
        try:
            return answers(self.grpc_port) is not None and self.master_port() > 0
        except Unavailable:
            return False


def written(path: Path, settings: Mapping[str, str]) -> Path:
    """A file of key=value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return path


class RocketMQSecured(RocketMQ):
    """As one server, with signed requests and rights, and a certificate that the proxy wants to be asked for, and name
    server and broker show to those who do.

    `admin` may do everything; `app` may send to and read from topics, in groups, whose names begin with `app-`.
    """

    name = "rocketmq-secured"

    def secure(self) -> None:
        """Users, and the administrator's login for RocketMQ's own tool."""
        self.secrets = Secrets.make(self.directory / "secrets", ["admin", "app"])
        login = self.directory / "conf" / "tools.yml"
        login.parent.mkdir(exist_ok=True)
        login.write_text(f'accessKey: admin\nsecretKey: "{self.secrets.users["admin"]}"\n')
        login.chmod(0o600)
        tls = {"tls.test.mode.enable": "false", "tls.server.authClient": "false"}
        files = {"tls.server.keyPath": str(self.secrets.key), "tls.server.certPath": str(self.secrets.certificate)}
        written(self._tls, tls | files)

    @property
    def _tls(self) -> Path:
        return self.directory / "conf" / "tls.properties"

    def java(self, name: str, heap: str) -> list[str]:
        """With the certificate of what brokers and name servers listen to."""
        program, *options = super().java(name, heap)
        return [program, f"-Dtls.config.file={self._tls}", *options]

    def bring_up(self) -> None:
        """Start, and make the user app with its rights."""
        super().bring_up()
        self._order("createUser", "-u", "app", "-p", self.secrets.users["app"], "-t", "Normal")
        names = "Topic:app-*,Group:app-*"
        self._order("createAcl", "-s", "User:app", "-r", names, "-a", "Pub,Sub", "-d", "Allow")

    def url(self, topic: str = "", *, proxied: bool = False, user: str = "app") -> str:
        """rocketmqs://… with the user, the password's file and the authority."""
        login = f"username={user}&password=file:{self.secrets.password_file(user)}&ca={self.secrets.ca}"
        return f"{super().url(topic, proxied=proxied).replace('rocketmq:', 'rocketmqs:', 1)}&{login}"

    def create(self, topic: str, *, kind: str = "NORMAL", queues: int = 4) -> None:
        """As of one server, as the administrator."""
        size = ["-r", str(queues), "-w", str(queues)]
        self._order("updateTopic", "-t", topic, *size, "-a", f"+message.type={kind}")

    def _order(self, *arguments: str) -> None:
        """The tool ends with 0 whatever happened, so it must have said success."""
        said = self.tool(*arguments, "-c", CLUSTER_NAME)
        if "success" not in said:
            raise Unavailable(f"{arguments[0]} failed: {said[-500:]}")

    def _credentials(self) -> str:
        return json.dumps({"accessKey": "admin", "secretKey": self.secrets.users["admin"]})

    def broker_security(self) -> dict[str, str]:
        """Users of the broker's own store."""
        password = self.secrets.users["admin"]
        return {
            "authenticationEnabled": "true",
            "authenticationProvider": f"{_AUTH}.authentication.provider.DefaultAuthenticationProvider",
            "authenticationMetadataProvider": f"{_AUTH}.authentication.provider.LocalAuthenticationMetadataProvider",
            "authorizationEnabled": "true",
            "authorizationProvider": f"{_AUTH}.authorization.provider.DefaultAuthorizationProvider",
            "authorizationMetadataProvider": f"{_AUTH}.authorization.provider.LocalAuthorizationMetadataProvider",
            "initAuthenticationUser": json.dumps({"username": "admin", "password": password}),
            "innerClientAuthenticationCredentials": self._credentials(),
        }

    def proxy_security(self) -> dict[str, object]:
        """The broker is asked about users, and there is a certificate."""
        return {
            "tlsTestModeEnable": False,
            "tlsKeyPath": str(self.secrets.key),
            "tlsCertPath": str(self.secrets.certificate),
            "authenticationEnabled": True,
            "authenticationProvider": f"{_AUTH}.authentication.provider.DefaultAuthenticationProvider",
            "authenticationMetadataProvider": "org.apache.rocketmq.proxy.auth.ProxyAuthenticationMetadataProvider",
            "authorizationEnabled": True,
            "authorizationProvider": f"{_AUTH}.authorization.provider.DefaultAuthorizationProvider",
            "authorizationMetadataProvider": "org.apache.rocketmq.proxy.auth.ProxyAuthorizationMetadataProvider",
            "innerClientAuthenticationCredentials": self._credentials(),
        }
