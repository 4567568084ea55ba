"""As which member, and in which generation of its group, a consumer may commit.

Its driver would commit by itself, but on the connection on which it joins: a commit waits there until all members have
joined, which takes as long as the session of one that died (https://kafka.apache.org/protocol: a broker answers the
requests of a connection one after the other). And a commit that the driver waits for keeps everything else from the
consumer (confluent-kafka 2.16: Handle_serialize_enter).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from evermq.errors import Unsupported

__all__ = ["NOBODY", "Generation", "generation_of"]

_MAGIC = b"CGMDv2:"
_NUMBER = Struct("=i")


class Generation(NamedTuple):
    """number: of the generation, by which the coordinator knows who is late. member: as the coordinator named it."""

    number: int
    member: str


NOBODY = Generation(-1, "")


def generation_of(metadata: bytes | None) -> Generation:
    """Out of what the driver says to be handed to transactions (rd_kafka_consumer_group_metadata_write): the magic, the
    generation, and texts that end with a zero each, of the group and of the member. Raises Unsupported for others."""
    if metadata is None:
        return NOBODY
    if not metadata.startswith(_MAGIC):
        raise Unsupported(
            f"confluent-kafka describes a member of a group by {metadata[:8]!r}, and this evermq knows {_MAGIC!r}: "
            "install confluent-kafka 2.16, or a newer evermq"
        )
    texts = metadata[len(_MAGIC) + _NUMBER.size :].split(b"\0")
    return Generation(_NUMBER.unpack_from(metadata, len(_MAGIC))[0], texts[1].decode())
