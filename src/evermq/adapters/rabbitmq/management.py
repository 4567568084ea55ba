"""What AMQP does not tell: members, policies and arguments of queues, and what readers of other processes hold."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode

from evermq.adapters.rabbitmq.link import Login
from evermq.adapters.rabbitmq.seen import COLUMNS, Seen, seen
from evermq.errors import Denied, Misconfigured, Unavailable
from evermq.redaction import redacted
from evermq.traits import Durable

__all__ = ["Management", "demand"]

_log = logging.getLogger("evermq.rabbitmq")

_PAGE = 500  # the most that the server puts on one
_REFUSED = (401, 403)


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere with a password."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Management:
    """The HTTP interface of RabbitMQ's management plugin, on one of several hosts. Raises Unavailable, Denied.

    bases: http://host:port of each.
    """

    def __init__(self, bases: Sequence[str], login: Login) -> None:
        self._bases = list(bases)
        self._vhost = quote(login.vhost, safe="")
        self._token = b64encode(f"{login.username}:{login.password}".encode()).decode()
        self._timeout_s = login.timeout_ms / 1000
        handlers: list[Any] = [urllib.request.ProxyHandler({}), _Stays()]
        if login.tls:
            handlers.append(urllib.request.HTTPSHandler(context=login.tls))
        self._opener = urllib.request.build_opener(*handlers)

    @classmethod
    def of(cls, text: str, login: Login) -> Management | None:
        """From an option: host:port, several with commas between. Raises Misconfigured."""
        if not text:
            return None
        scheme = "https" if login.tls else "http"
        bases = [each if "://" in each else f"{scheme}://{each}" for each in text.split(",")]
        for base in bases:
            if not re.fullmatch(r"https?://[^/@:]+(:\d+)?", base):
                raise Misconfigured(
                    f"management = {redacted(text)!r}: give host:port, or https://host:port, and no path"
                )
        return cls(bases, login)

    async def durable(self) -> Durable:
        """What queues keep that are made while every node of the cluster runs."""
        return Seen(len(await self._ask("/api/nodes?columns=name")), 0).durable

    async def queues(self, topic: str, group: str = "") -> dict[str, Seen]:
        """The queues of a topic, or of one group of it, by name."""
        pattern = f"^{re.escape(topic)}:{re.escape(group) if group else '[^:]+'}:[0-9]+$"
        found: dict[str, Seen] = {}
        page, pages = 1, 1
        while page <= pages:
            query = {"page": page, "page_size": _PAGE, "use_regex": "true", "name": pattern}
            answer = await self._ask(f"/api/queues/{self._vhost}?{urlencode(query)}&columns={COLUMNS}")
            found |= {each["name"]: seen(each) for each in answer["items"]}
            page, pages = page + 1, answer["page_count"]
        return found

    async def _ask(self, path: str) -> Any:
        """The answer of the first that gives one."""
        return await asyncio.to_thread(self._first, path)

    def _first(self, path: str) -> Any:
        said = ""
        for base in self._bases:
            asked = urllib.request.Request(f"{base}{path}", headers={"Authorization": f"Basic {self._token}"})
            try:
                with self._opener.open(asked, timeout=self._timeout_s) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code in _REFUSED:
                    raise Denied(f"{base}: {error.code}: the user needs the tag `monitoring`") from None
                said = f"{base}: {error.code} {error.reason}"
            except (OSError, ValueError, HTTPException) as error:
                said = f"{base}: {error}"
        raise Unavailable(f"the management interface does not answer: {said}")


async def demand(required: Durable, management: Management | None, topic: str) -> Durable:
    """What the queues of a topic keep; where nothing can be seen, what evermq's queues keep without any policy.

    Raises Misconfigured where that is less than required, Unavailable or Denied where more may be required than can be
    seen."""
    queues: dict[str, Seen] = {}
    unseen = "" if management else "give management=host:15672"
    try:
        if management:
            queues = await management.queues(topic)
    except (Denied, Unavailable) as error:
        if required > Durable.DISK:
            raise
        unseen = str(error)
    if unseen:
        _log.info(
            "topic %s: its queues are taken to keep disk; policies by which they would delete what they confirmed "
            "(message-ttl, max-length) were not seen: %s",
            topic,
            unseen,
        )
    found = min((each.durable for each in queues.values()), default=Durable.DISK)
    why = _wrong(queues) or "three members would make it replicated"
    if found < required:
        raise Misconfigured(
            f"topic {topic}: its queues keep {found.name.lower()}, less than {required.name.lower()}: {why}"
        )
    if found < Durable.DISK:
        _log.warning("topic %s: its queues keep %s only: %s", topic, found.name.lower(), why)
    return found


def _wrong(queues: Mapping[str, Seen]) -> str:
    """What makes these queues keep less than disk, empty where nothing does."""
    drops = sorted({f"{name} = {value}" for each in queues.values() for name, value in each.drops})
    kinds = sorted({each.kind for each in queues.values() if not each.is_quorum})
    said = (
        [f"{', '.join(drops)}: take it out of policies and arguments, it deletes what was confirmed"] if drops else []
    )
    return "; ".join([*said, *(f"a {kind} queue does not flush what it confirms: make it quorum" for kind in kinds)])
