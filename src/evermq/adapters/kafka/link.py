"""aiokafka's client, and a request that is written at once; its own way begins a turn of the loop later, or two."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import RequestTimedOutError

from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.unsaid import keep_secrets_unsaid
from evermq.errors import Misconfigured

__all__ = ["client_of", "write"]


def client_of(settings: Settings) -> AIOKafkaClient:
    """Not connected yet. Raises Misconfigured."""
    keep_secrets_unsaid()
    given = settings.aiokafka
    try:
        return AIOKafkaClient(**given)
    except ValueError as error:
        raise Misconfigured(f"kafka: {error}") from None


def write(client: AIOKafkaClient, node: int, request: Any) -> Awaitable[Any] | None:
    """The answer to come, with the request already on its way; None where there is no connection, and nothing was
    written. Raises as the client's `send` does."""
    connection = client._conns.get((node, ConnectionGroup.DEFAULT))
    if connection is None or not connection.connected():
        return None
    return _answer(connection, connection.send(request))


async def _answer(connection: Any, pending: Awaitable[Any]) -> Any:
    try:
        return await pending
    except TimeoutError:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)  # what comes late must not be taken for another answer
        raise RequestTimedOutError from None
