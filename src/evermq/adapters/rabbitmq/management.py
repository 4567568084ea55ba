"""What AMQP does not tell: how many members a quorum queue has, and what readers of other processes hold."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from evermq.adapters.rabbitmq.link import Login
from evermq.errors import Denied, Misconfigured, Unavailable
from evermq.redaction import redacted
from evermq.traits import Durable

__all__ = ["Management", "Seen", "demand"]

_PAGE = 500  # the most that the server puts on one
_MEMBERS_MIN = 3  # of which two have what was confirmed, whoever of them is lost
_REFUSED = (401, 403)


class Seen(NamedTuple):
    """members: replicas of a queue. unsettled: messages of it that readers hold, here and elsewhere."""

    members: int
    unsettled: int


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
        return _durable(len(await self._ask("/api/nodes?columns=name")))

    async def queues(self, topic: str, group: str = "") -> dict[str, Seen]:
        """The queues of a topic, or of one group of it, by name."""
        pattern = f"^{re.escape(topic)}:{re.escape(group) if group else '[^:]+'}:[0-9]+$"
        found: dict[str, Seen] = {}
        page, pages = 1, 1
        while page <= pages:
            query = {"page": page, "page_size": _PAGE, "use_regex": "true", "name": pattern}
            columns = "&columns=name,members,messages_unacknowledged"
            answer = await self._ask(f"/api/queues/{self._vhost}?{urlencode(query)}{columns}")
            for each in answer["items"]:
                found[each["name"]] = Seen(len(each.get("members") or ()), each.get("messages_unacknowledged") or 0)
            page, pages = page + 1, answer["page_count"]
        return found

    async def durable_of(self, topic: str) -> Durable:
        """What every queue of a topic keeps."""
        queues = await self.queues(topic)
        return min((_durable(each.members) for each in queues.values()), default=Durable.DISK)

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
    """What the queues of a topic keep; what cannot be seen is taken for its worst.

    Raises Misconfigured where that is less than required, Unavailable or Denied where more may be required than can be
    seen."""
    found = Durable.DISK
    try:
        if management:
            found = await management.durable_of(topic)
    except (Denied, Unavailable):
        if required > found:
            raise
    if found < required:
        raise Misconfigured(
            f"topic {topic}: its queues keep {found.name.lower()}, less than {required.name.lower()}: three members "
            "would make it replicated"
        )
    return found


def _durable(members: int) -> Durable:
    return Durable.REPLICATED if members >= _MEMBERS_MIN else Durable.DISK
