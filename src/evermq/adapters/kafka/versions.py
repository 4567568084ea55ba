"""Whether brokers speak what evermq asks of them: as they say themselves, when a place is opened."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import aiokafka.errors as driver
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from evermq.adapters.kafka.offset_delete import OffsetDelete
from evermq.adapters.kafka.request import LEAST_KAFKA, Produce
from evermq.errors import Unsupported

__all__ = ["check_versions", "judge"]

_log = logging.getLogger("evermq.kafka")

_ASKED: tuple[type[Request], ...] = (
    Produce,
    InitProducerIdRequest,
    FindCoordinatorRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    LeaveGroupRequest,
    OffsetDelete,
)
# By what a broker speaks, newest first (https://kafka.apache.org/protocol): request, version, since which Kafka.
_SINCE = (
    (47, 0, "2.4"),
    (44, 0, "2.3"),
    (43, 0, "2.2"),
    (0, 7, "2.1"),
    (0, 6, "2.0"),
    (42, 0, "1.1"),
    (0, 5, "1.0"),
    (0, 3, "0.11"),
)
_NEVER = (0, -1)

Spoken = Mapping[int, tuple[int, int]]


async def check_versions(client: AIOKafkaClient, where: str) -> None:
    """Ask one broker. Raises Unsupported where it is too old, or too new; one that does not answer is not judged."""
    node = client.get_random_node()
    try:
        answer = await client.send("bootstrap" if node is None else node, ApiVersionRequest())
    except driver.KafkaError as error:
        _log.info("%s: which versions its brokers speak is not known: %r", where, error)
        return
    judge({key: (least, most) for key, least, most, *_ in answer.api_versions}, where)


def judge(spoken: Spoken, where: str) -> None:
    """spoken: the least and the newest version of each request. Raises Unsupported, which names what is missing."""
    for request in _ASKED:
        ours = [each.API_VERSION for each in request._CLASSES]
        least, most = spoken.get(request.API_KEY, _NEVER)
        name = request.__name__.removesuffix("Request")
        if most < min(ours):
            raise Unsupported(
                f"{where}: a broker is Kafka {_kafka(spoken)}, as far as it tells, and knows no {name} of version "
                f"{min(ours)}: evermq needs Kafka {LEAST_KAFKA} or newer"
            )
        if least > max(ours):
            raise Unsupported(
                f"{where}: a broker is too new: it knows {name} from version {least} on, this evermq up to {max(ours)}"
            )


def _kafka(spoken: Spoken) -> str:
    known = (kafka for key, version, kafka in _SINCE if spoken.get(key, _NEVER)[1] >= version)
    return next(known, "0.10 or older")
