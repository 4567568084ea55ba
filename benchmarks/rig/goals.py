"""The figures to reach. A ratio is ours / peer; below `floor` it falls short, `aim` is what we are after."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GOALS", "Goal"]


class Goal(NamedTuple):
    """One row of a benchmark: what is measured, against whom, and how good it has to be."""

    case: str
    peer: str
    floor: float
    aim: float


_RAW = "raw write+fdatasync"
_SET = "set + while"
_PRODUCE = "confluent-kafka produce() with delivery callback, identical records (headers included)"
_BARE = "bare kafka adapter"
_PUSH = "redis-benchmark RPUSH -P 500"

GOALS = {
    "B1": Goal("append_many 4 callers x 256 x 1 KB, fsync always", _RAW, 0.60, 0.80),
    "B2": Goal("append_many 4 x 256 x 10 KB, fsync always", _RAW, 0.58, 0.85),
    "B3": Goal("append_many 4 x 4096 x 100 B, fsync always", _RAW, 0.22, 0.40),
    "B4": Goal("await append, 256 producers, 1 KB, asyncio", _RAW, 0.17, 0.25),
    "B5": Goal("await append, 256 producers, 1 KB, uvloop", _RAW, 0.23, 0.32),
    "B6": Goal("await append, 256 producers, 10 KB", _RAW, 0.46, 0.60),
    "B7": Goal("await append, 1 producer, 1 KB", _RAW, 0.42, 0.60),
    "B8": Goal("await append, 16 producers, 1 KB", _RAW, 0.34, 0.50),
    "B9": Goal("blocking append, 1 thread, 1 KB", _RAW, 0.90, 1.00),
    "B10": Goal("blocking append, 4 threads, 1 KB", _RAW, 0.33, 0.45),
    "B11": Goal("blocking append, 64 threads, 1 KB", "ours with 1 thread", 3.0, 6.0),
    "B12": Goal("append 256 x 1 KB", "SQLite WAL FULL", 4.0, 6.0),
    "B13": Goal("append 256 x 1 KB", "LMDB", 2.0, 3.0),
    "B14": Goal("append 256 x 1 KB", "RocksDB", 3.0, 4.0),
    "B15": Goal("append 256 x 1 KB", "Redis appendfsync always", 10.0, 15.0),
    "B16": Goal("append 1 x 1 KB", "SQLite WAL FULL", 1.2, 2.0),
    "B17": Goal("await append, 256 producers, 1 KB", "NATS JetStream sync always, nats-py", 20.0, 40.0),
    "B18": Goal("slow disk (+2 ms a flush), 16 producers, 1 KB", _RAW, 0.72, 0.95),
    "B19": Goal("slow disk (+2 ms a flush), 256 producers, 1 KB", _RAW, 0.58, 0.85),
    "B20": Goal("read by group, 1 KB, warm", "plain read()", 0.75, 0.90),
    "B21": Goal(
        "read and ack split into messages, 1 KB, warm, consume and commit", "SQLite SELECT + DELETE by batch", 4.0, 8.0
    ),
    "D1": Goal("kafka send_many, batches of 1000, 1 KB", _PRODUCE, 1.2, 1.7),
    "D2": Goal("kafka send_many, batches of 1000, 100 B", _PRODUCE, 1.4, 2.3),
    "D3": Goal("kafka awaited send, 256 tasks, 1 KB", "aiokafka send()", 1.7, 3.0),
    "D4": Goal("kafka send_many, 1 KB", "FastStream publish (confluent broker)", 10.0, 20.0),
    "D5": Goal("kafka read and ack, 1 KB", "confluent-kafka consume(500) and commit", 0.45, 0.8),
    "D6": Goal("kafka handler a message, 1 KB", "FastStream subscriber", 8.0, 20.0),
    "batches": Goal("kafka send_many, batches of 1000, 1 KB", "aiokafka create_batch() and send_batch()", 0.8, 1.0),
    "awaited": Goal("kafka awaited send, 256 tasks, 1 KB", "confluent-kafka AIOProducer", 1.7, 3.0),
    "published": Goal("kafka awaited send, 256 tasks, 1 KB", "kombu publish (confluentkafka transport)", 10.0, 20.0),
    "consumed": Goal("kafka handler a message, 1 KB", "kombu Consumer (confluentkafka transport)", 4.0, 8.0),
    "D7": Goal("rabbitmq confirmed append, batches of 500, 1 KB", "aio-pika, window of 500", 0.90, 1.00),
    "D8": Goal("rocketmq append, batches of 100, 1 KB", "rocketmq-python-client send_async, 128 in flight", 8.0, 15.0),
    "E1": Goal("Watermark, window 4096, random completion", "empty method call", 0.18, 0.40),
    "E2": Goal("Watermark, window 1e6, random completion", _SET, 1.0, 1.2),
    "E3": Goal("Watermark, window 1e6, head stuck", _SET, 1.3, 1.6),
    "F1": Goal("redis append, batches of 500, 1 KB, appendfsync always", _PUSH, 0.8, 1.1),
    "F2": Goal("redis append, every message hashed, 1 KB", _PUSH, 0.4, 0.8),
    "F3": Goal("redis read and ack, 1 KB, 4 readers", "Redis Streams XREADGROUP + XACK", 3.0, 4.0),
    "F4": Goal("redis read and ack, 1 KB, 4 readers", "LMPOP (loses on a crash)", 0.55, 0.8),
    "plain": Goal("redis append, batches of 500, 1 KB, no key, appendfsync always", "100,000 messages/s", 1.0, 1.2),
    "keyed": Goal("redis append, batches of 500, 1 KB, keys, appendfsync always", "50,000 messages/s", 1.0, 1.2),
    "F5": Goal("whole ladder, healthy, kafka send_many", _BARE, 0.95, 1.0),
    "F6": Goal("whole ladder with order per key and dedupe, healthy, kafka send_many and read", _BARE, 0.90, 0.95),
    "drain": Goal("backlog of the standby, read beside live traffic", "live rate", 3.0, 6.0),
    "live": Goal("p99 of a live send while the standby is drained", "healthy", 0.5, 0.9),
}
