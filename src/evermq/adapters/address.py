"""What a queue's URL says, and the one place that reads such URLs."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from evermq.errors import Misconfigured
from evermq.redaction import redacted
from evermq.topics import check_topic

__all__ = ["ENGINES", "Address", "parse"]

# scheme -> engine: the package under adapters/ that connects to it, and the name of the extra that brings its driver.
ENGINES = {
    "log": "log",
    "memory": "memory",
    "kafka": "kafka",
    "redis": "redis",
    "rediss": "redis",
    "rabbitmq": "rabbitmq",
    "rabbitmqs": "rabbitmq",
    "rocketmq": "rocketmq",
    "rocketmqs": "rocketmq",
}
_SHAPES = {
    "log": "log:///directory/topic",
    "memory": "memory://name/topic",
    "kafka": "kafka://host:9092,host:9092/topic",
    "redis": "redis://host:6379/topic",
    "rabbitmq": "rabbitmq://host:5672/vhost/topic",
    "rocketmq": "rocketmq://host:8081/topic",
}


@dataclass(frozen=True, slots=True)
class Address:
    """What a queue's URL says.

    place: the directory of a log, the name of a memory, else hosts and what of the path stands before the topic.
    topic: empty where only a place was asked for. options: from the query, as text.
    """

    scheme: str
    place: str
    topic: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        """The adapter that serves it."""
        return ENGINES[self.scheme]

    @property
    def hosts(self) -> list[tuple[str, int | None]]:
        """The hosts and ports (None where the URL gives none) of an engine on the network. Raises Misconfigured."""
        return [_host(self, each) for each in self.place.partition("/")[0].split(",")]

    def __str__(self) -> str:
        """The URL without its options, which may name secrets."""
        return f"{self.scheme}://{self.place}{'/' if self.topic else ''}{self.topic}"


def parse(url: str, *, topic_needed: bool = True) -> Address:
    """Take a URL apart; without `topic_needed` the whole path is the place. Raises Misconfigured."""
    shown = redacted(url)
    if not url.isprintable():
        raise Misconfigured(f"{shown!r}: control characters do not belong in a URL: leave them out")
    if url != url.strip():
        raise Misconfigured(f"{shown!r}: a blank stands before or behind it: leave it out")
    try:
        parts = urlsplit(url)
    except ValueError:  # which says what it read
        raise Misconfigured(f"{shown}: not a URL: its host cannot be understood") from None
    if parts.scheme not in ENGINES:
        raise _unknown_scheme(shown, parts.scheme)
    shape = _SHAPES[ENGINES[parts.scheme]]
    if "@" in parts.netloc or (parts.scheme != "log" and "@" in parts.path):  # a password may have a /
        raise Misconfigured(
            f"{parts.scheme}:// with a user or password: URLs get logged: give ?username=NAME&password=env:VARIABLE"
        )
    if "#" in url:
        raise Misconfigured(f"{shown}: '#' means nothing here: leave it out, or write it as %23")
    last = parts.path if parts.scheme == "log" else parts.path.rpartition("/")[2]  # a vhost of RabbitMQ may have one
    if "%2f" in last.lower() and (topic_needed or parts.scheme == "log"):
        raise Misconfigured(f"{shown}: %2F is a slash, which no topic has in its name: {shape}")
    path = unquote(parts.path)
    if parts.scheme == "log" and parts.netloc:
        raise Misconfigured(f"{shown}: a log is a directory of this machine: write log:///{parts.netloc}{parts.path}")
    whole = path if parts.scheme == "log" else f"{parts.netloc}{path}"
    place, topic = whole.rpartition("/")[::2] if topic_needed else (whole.rstrip("/") or whole, "")
    if topic_needed:
        _check(shown, place, topic, shape)
    elif not place.strip("/"):
        raise Misconfigured(f"{shown}: the place is missing, it is what stands before the topic in {shape}")
    return Address(parts.scheme, place, topic, _options(shown, parts.query))


def _check(shown: str, place: str, topic: str, shape: str) -> None:
    if not topic:
        raise Misconfigured(f"{shown}: the topic is missing, it is the last part of the path: {shape}")
    if not place.strip("/"):
        raise Misconfigured(f"{shown}: what stands before the topic is missing: {shape}")
    check_topic(topic)


def _options(shown: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:  # which says what it read
        raise Misconfigured(f"{shown}: what follows ? is not option=value&option=value") from None
    options = dict(pairs)
    if len(options) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise Misconfigured(f"{shown}: option {name} stands there twice")
    return options


def _host(address: Address, text: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0:
        raise Misconfigured(f"{address}: {text!r} is no host or host:port: {_SHAPES[address.engine]}")
    return host, port


def _unknown_scheme(shown: str, scheme: str) -> Misconfigured:
    near = difflib.get_close_matches(scheme, ENGINES, 1)
    hint = f"did you mean {near[0]}://?" if near else f"known are {', '.join(_SHAPES.values())}"
    return Misconfigured(
        f"{shown}: {scheme + ':// is no queue that evermq knows' if scheme else 'this is no URL'}: {hint}"
    )
