"""From a URL to a coordinator."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from evermq.coordination.remembered import Remembered
from evermq.coordinator import Coordinator
from evermq.errors import Misconfigured
from evermq.redaction import redacted

__all__ = ["Target", "open", "parse"]

_SHAPES = {
    "file": "file:///directory",
    "zookeeper": "zookeeper://host:2181,host:2181/path",
    "etcd": "etcd://host:2379,host:2379/path",
}
Secret = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Target:
    """What the URL of a coordinator says. hosts: with ports, none for file. options: from the query, as text."""

    scheme: str
    hosts: str
    path: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The URL without its options, which may name secrets."""
        return f"{self.scheme}://{self.hosts}{self.path}"


def parse(url: str) -> Target:
    """Take a URL apart. Raises Misconfigured."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:  # which says what it read
        raise Misconfigured(f"{redacted(url)!r} is no URL of a coordinator") from None
    shape = _SHAPES.get(parts.scheme)
    if shape is None:
        raise Misconfigured(
            f"{parts.scheme or redacted(url)!r} is no coordinator: known are {', '.join(_SHAPES.values())}"
        )
    if "@" in parts.netloc:
        raise Misconfigured(f"{shape} with a user or password: URLs get logged: give ?username=NAME&password=env:NAME")
    path = unquote(parts.path).rstrip("/")
    if not path or parts.fragment or bool(parts.netloc) == (parts.scheme == "file"):
        raise Misconfigured(f"{redacted(url)}: write {shape}")
    return Target(parts.scheme, parts.netloc, path, options)


def _no_secret(option: str, reference: str) -> str:
    raise Misconfigured(f"{option}: nothing here reads secrets")


async def open(url: str, *, secret: Secret = _no_secret, fits: Callable[[bytes], bool] = bool) -> Remembered:
    """The coordinator of a URL, with what it said last kept on this machine (`?remember=FILE` says where).

    It need not be there yet: calls raise Unavailable until it is. secret: gives the password that an option refers to.
    fits: see `Remembered`.
    Raises Misconfigured for a wrong URL, Denied where this process has not the rights it needs.
    """
    target = parse(url)
    remember = target.options.pop("remember", None)
    inner = await _connect(target, secret)
    return Remembered(inner, Path(remember) if remember else _place_of(target), fits=fits)


async def _connect(target: Target, secret: Secret) -> Coordinator:
    if target.scheme == "file":
        from evermq.coordination.file import FileCoordinator

        known(target, ())
        return await FileCoordinator.open(Path(target.path))
    try:
        return _over_network(target, secret)
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"{target}: its driver is not installed ({error.name}): pip install 'evermq[{target.scheme}]'"
        ) from error


def _over_network(target: Target, secret: Secret) -> Coordinator:
    username = target.options.get("username", "")
    password = secret("password", target.options["password"]) if "password" in target.options else ""
    if target.scheme == "etcd":
        from evermq.coordination.etcd import HISTORY_S, EtcdCoordinator

        known(target, ("username", "password", "history_s"))
        history_s = number(target, "history_s", HISTORY_S, least=0)
        return EtcdCoordinator(target.hosts, target.path, username=username, password=password, history_s=history_s)
    from evermq.coordination.zookeeper import ZooKeeperCoordinator

    known(target, ("username", "password", "session_ms"))
    session_ms = number(target, "session_ms", 4_000, least=1_000)
    return ZooKeeperCoordinator(target.hosts, target.path, session_ms=session_ms, username=username, password=password)


def known(target: Target, names: tuple[str, ...]) -> None:
    """Raises Misconfigured for an option of another name."""
    for option in target.options:
        if option not in names:
            raise Misconfigured(f"{target}: option {option!r} is not known: {', '.join(('remember', *names))} are")


def number(target: Target, option: str, default: int, *, least: int) -> int:
    """A whole number among the options. Raises Misconfigured."""
    text = target.options.get(option, str(default))
    if not text.isdecimal() or int(text) < least:
        raise Misconfigured(f"{target}: {option} = {text!r}: give a whole number from {least} on")
    return int(text)


def _place_of(target: Target) -> Path:
    """A file of this user: $XDG_STATE_HOME, or what stands for it."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = hashlib.blake2b(str(target).encode(), digest_size=8).hexdigest()
    return Path(state).expanduser() / "evermq" / f"{target.scheme}-{name}"
