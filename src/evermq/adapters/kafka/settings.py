"""What a kafka:// URL says, in the words of both drivers."""

from __future__ import annotations

import difflib
import logging
import ssl
from dataclasses import dataclass, field
from typing import Any

from evermq.adapters.address import Address
from evermq.adapters.options import durable_named
from evermq.adapters.secret import secret
from evermq.errors import Misconfigured
from evermq.traits import Durable

__all__ = ["Settings"]

_driver_log = logging.getLogger("evermq.kafka.driver")
# Drivers tell of every connection that fails: whoever sets up logging gets to see it, nobody else is bothered.
for _name in ("evermq.kafka.driver", "aiokafka"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

# evermq's own options, with what holds when they are not given.
_NUMBERS = {
    "lanes": 0,  # of topics that are made; 0: what the brokers do (num.partitions)
    "replicas": 0,  # the same (default.replication.factor)
    "retention_ms": 0,  # the same (log.retention.ms); -1 keeps everything
    "retention_bytes": 0,  # the same, of each lane (log.retention.bytes)
    "send_ms_max": 6_000,  # an append has an outcome after this time
    "request_ms_max": 2_500,  # a request without an answer is given up, and sent again, after this time
    "window": 10_000,  # how many messages of a lane are handed out and not settled
    "handover_ms_max": 2_000,  # how long a lane that goes to another process waits for what is being handled
}
_TEXTS = {"group_prefix": "", "username": "", "password": "", "require": ""}
_SHORT = {"username": "sasl.username", "password": "sasl.password"}
_SECRET = ("sasl.password", "ssl.key.password")
_CHOICES = {
    "security.protocol": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "sasl.mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
}
# Settings of Kafka's clients that may stand in a URL, and change no promise.
_DOTTED = {
    "broker.address.family",
    "client.id",
    "client.rack",
    "compression.type",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "sasl.mechanism",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "topic.metadata.refresh.interval.ms",
}
_HELD = {
    "acks": "all",
    "allow.auto.create.topics": "false",
    "auto.offset.reset": "error",
    "enable.auto.commit": "false",
    "enable.idempotence": "true",
    "enable.ssl.certificate.verification": "true",
    "group.id": "the name of the group",
    "ssl.endpoint.identification.algorithm": "https",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of one place. required: a topic that keeps less is refused. dotted: settings of Kafka's clients under
    their own names, secrets resolved; it is not in the repr, and goes to no log."""

    bootstrap: str
    group_prefix: str = ""
    required: Durable = Durable.MEMORY
    lanes: int = 0
    replicas: int = 0
    retention_ms: int = 0
    retention_bytes: int = 0
    send_ms_max: int = 6_000
    request_ms_max: int = 2_500
    window: int = 10_000
    handover_ms_max: int = 2_000
    dotted: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, address: Address) -> Settings:
        """Raises Misconfigured with the option, and what to write instead."""
        own: dict[str, Any] = {}
        dotted: dict[str, str] = {}
        for option, value in address.options.items():
            name = _SHORT.get(option, option)
            if name in _NUMBERS:
                own[name] = _number(name, value)
            elif name in _DOTTED:
                dotted[name] = secret(option, value) if name in _SECRET else value
            elif name == "require":
                own["required"] = durable_named(value)
            elif name in _TEXTS:
                own[name] = value
            else:
                raise _unknown(option)
        _secure(dotted)
        bootstrap = ",".join(f"{_bracketed(host)}:{port or 9092}" for host, port in address.hosts)
        return cls(bootstrap=bootstrap, dotted=dotted, **own)

    @property
    def retention(self) -> dict[str, str]:
        """Of topics that are made, where the URL says it."""
        given = {"retention.ms": self.retention_ms, "retention.bytes": self.retention_bytes}
        return {name: str(value) for name, value in given.items() if value}

    @property
    def librdkafka(self) -> dict[str, Any]:
        """For every client of confluent-kafka; its own give-up times would let a frozen broker stall readers."""
        return {
            "bootstrap.servers": self.bootstrap,
            "client.id": "evermq",
            "allow.auto.create.topics": False,
            "socket.timeout.ms": max(4_000, self.request_ms_max),
            "socket.connection.setup.timeout.ms": 3_000,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 1_000,
            "logger": _driver_log,
            **{name: value for name, value in self.dotted.items() if name != "compression.type"},
        }

    def consumer(self, group: str, topic: str) -> dict[str, Any]:
        """For the one consumer of a group and a topic in this process. Its name, if it has one, is of this topic alone:
        the group takes two members of one name for one that came back."""
        instance = self.dotted.get("group.instance.id")
        classic = {
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 500,
            "partition.assignment.strategy": "cooperative-sticky",
        }
        return {
            **({} if self.dotted.get("group.protocol", "classic") != "classic" else classic),
            "fetch.wait.max.ms": 500,
            "topic.metadata.refresh.interval.ms": 30_000,  # how long partitions that are added wait for a reader
            "fetch.queue.backoff.ms": 10,  # how long a full queue keeps it from fetching more
            **self.librdkafka,
            **({"group.instance.id": f"{instance}-{topic}"} if instance else {}),
            "group.id": self.group_prefix + group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }

    @property
    def admin(self) -> dict[str, Any]:
        """For AdminClient, and for consumers without a group."""
        only = ("group.", "session.", "heartbeat.", "max.poll", "fetch.", "queued.", "isolation.", "max.partition")
        return {name: value for name, value in self.librdkafka.items() if not name.startswith(only)}

    @property
    def aiokafka(self) -> dict[str, Any]:
        """For aiokafka's client, in its words."""
        given = self.dotted
        protocol = given.get("security.protocol", "PLAINTEXT").upper()
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": given.get("client.id", "evermq"),
            "request_timeout_ms": self.request_ms_max,
            "retry_backoff_ms": 50,
            "security_protocol": protocol,
            "ssl_context": self._ssl_context() if protocol.endswith("SSL") else None,
            "sasl_mechanism": given.get("sasl.mechanism", "PLAIN"),
            "sasl_plain_username": given.get("sasl.username"),
            "sasl_plain_password": given.get("sasl.password"),
        }

    def _ssl_context(self) -> ssl.SSLContext:
        """Verifies the chain and the host name, always."""
        given = self.dotted
        try:
            context = ssl.create_default_context(cafile=given.get("ssl.ca.location"))
            if certificate := given.get("ssl.certificate.location"):
                context.load_cert_chain(certificate, given.get("ssl.key.location"), given.get("ssl.key.password"))
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"ssl.ca.location or ssl.certificate.location cannot be used: {error}") from error
        return context


def _secure(dotted: dict[str, str]) -> None:
    """Add what is not said; refuse what one of the drivers cannot do, and a user who would not be sent."""
    if "sasl.username" in dotted:
        dotted.setdefault("security.protocol", "SASL_SSL")
        dotted.setdefault("sasl.mechanism", "SCRAM-SHA-512")
    elif any(name.startswith("ssl.") for name in dotted):
        dotted.setdefault("security.protocol", "SSL")
    for name, known in _CHOICES.items():
        if (value := dotted.get(name, known[0]).upper()) not in known:
            raise Misconfigured(f"{name} = {dotted[name]!r}: known are {', '.join(known)}")
        if name in dotted:
            dotted[name] = value
    user, password = dotted.get("sasl.username"), dotted.get("sasl.password")
    wanted = dotted.get("security.protocol", "").startswith("SASL")
    if not user and (wanted or password):
        raise Misconfigured("security.protocol and password are of a user: give username=NAME")
    if not password and (wanted or user):
        raise Misconfigured(f"username = {user} without a password: give password=env:VARIABLE")


def _number(name: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = -2
    if number < (-1 if name.startswith("retention_") else 1):
        raise Misconfigured(f"{name} = {value!r}: give a whole number from 1 on")
    return number


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _unknown(option: str) -> Misconfigured:
    if option in _HELD:
        return Misconfigured(f"{option}: evermq holds it at {_HELD[option]}, its promises rest on it: leave it out")
    known = [*_NUMBERS, *_TEXTS, *sorted(_DOTTED)]
    near = difflib.get_close_matches(option, known, 1)
    return Misconfigured(f"{option}: {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(known)}")
