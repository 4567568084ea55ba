"""aiokafka's client, its connections to a broker, and a request that is written at once: its own way begins a turn of
the loop later, or two.

A broker reads no request of a connection while it works on one, so appends go over two, and what readers commit over
a third.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import RequestTimedOutError

from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.unsaid import keep_secrets_unsaid
from evermq.errors import Misconfigured

__all__ = ["Line", "Lines", "client_of", "write"]

_GROUPS = (int(ConnectionGroup.DEFAULT), max(ConnectionGroup) + 1)  # to the client a name like any other


class Line(NamedTuple):
    """A connection for appends. node: the broker, -1 for none. group: the client's name of the connection."""

    node: int
    group: int


class Lines:
    """Which of its connections for appends a broker has least to do on."""

    def __init__(self) -> None:
        self._underway = Counter[Line]()

    def take(self, node: int) -> Line:
        """The one for a request, until it is left."""
        line = min([Line(node, group) for group in _GROUPS], key=self._underway.__getitem__)
        self._underway[line] += 1
        return line

    def leave(self, line: Line) -> None:
        """The request was answered, or will not be."""
        self._underway[line] -= 1


def client_of(settings: Settings) -> AIOKafkaClient:
    """Not connected yet. Raises Misconfigured."""
    keep_secrets_unsaid()
    given = settings.aiokafka
    try:
        return AIOKafkaClient(**given)
    except ValueError as error:
        raise Misconfigured(f"kafka: {error}") from None


def write(client: AIOKafkaClient, line: Line, request: Any) -> Awaitable[Any] | None:
    """The answer to come, with the request already on its way; None where there is no connection, and nothing was
    written. Raises as the client's `send` does."""
    connection = client._conns.get(line)
    if connection is None or not connection.connected():
        return None
    return _answer(connection, connection.send(request))


async def _answer(connection: Any, pending: Awaitable[Any]) -> Any:
    try:
        return await pending
    except TimeoutError:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)  # what comes late must not be taken for another answer
        raise RequestTimedOutError from None
