"""A produce request, joined in one go: aiokafka's own encoder copies each payload half a dozen times on its way."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request
from aiokafka.protocol.produce import ProduceRequest_v7

from evermq.adapters.kafka.batch import LaneBatch

__all__ = ["LEAST_KAFKA", "Produce"]

LEAST_KAFKA = "2.4"

# https://kafka.apache.org/protocol#The_Messages_Produce
_HEAD = Struct(">hhii")  # no transaction, acks, time-out, number of topics
_NUMBER, _TEXT, _PARTITION = Struct(">i"), Struct(">h"), Struct(">ii")
_NONE, _ALL = -1, -1


class _Joined(ProduceRequest_v7):  # type: ignore[misc]
    def encode(self) -> bytes:
        topics: dict[str, list[LaneBatch]] = self.topics
        pieces: list[bytes | bytearray] = [_HEAD.pack(_NONE, _ALL, self.timeout, len(topics))]
        for topic, batches in topics.items():
            name = topic.encode()
            pieces += (_TEXT.pack(len(name)), name, _NUMBER.pack(len(batches)))
            for batch in batches:
                assert batch.payload is not None
                pieces += (_PARTITION.pack(batch.lane, len(batch.payload)), batch.payload)
        return b"".join(pieces)


class Produce(Request[_Joined]):  # type: ignore[misc]
    """Batches that are numbered, one of a lane at most, to be acknowledged by all replicas in sync."""

    API_KEY = 0

    def __init__(self, batches: Iterable[tuple[str, LaneBatch]], timeout_ms: int) -> None:
        self._topics: dict[str, list[LaneBatch]] = {}
        self._timeout_ms = timeout_ms
        for topic, batch in batches:
            self._topics.setdefault(topic, []).append(batch)

    def prepare(self, versions: dict[int, tuple[int, int]]) -> _Joined:
        """As the driver's, which has no error of its own for a broker that does not speak the version."""
        try:
            found: _Joined = super().prepare(versions)
        except NotImplementedError as error:
            raise IncompatibleBrokerVersion(f"{error}: evermq needs Kafka {LEAST_KAFKA} or newer") from None
        return found

    def build(self, request_struct_class: type[_Joined]) -> _Joined:
        """The request in the one version that is spoken."""
        return request_struct_class(None, _ALL, self._timeout_ms, self._topics)
