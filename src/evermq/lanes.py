"""Which lane a key belongs to: Kafka's rule, so that other clients agree."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["lane_of", "murmur2"]

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 with Kafka's seed, as an unsigned 32-bit number (org.apache.kafka.common.utils.Utils)."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def lane_of(key: bytes, lanes: int) -> int:
    """The lane of `key` among `lanes`, as Kafka's default partitioner has it."""
    return (murmur2(key) & 0x7FFFFFFF) % lanes
