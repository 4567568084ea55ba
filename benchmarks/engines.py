"""evermq over real engines against the clients that people use without it: `python benchmarks/engines.py --quick`.

One server on this machine, acks=all and idempotence on both sides, the same records, headers included. See
docs/guide/kafka.md.
"""

from __future__ import annotations

from brokers import frameworks, ours, peers
from brokers.arena import BATCH, LANES, SENDERS, WARM_S, Arena
from rig.command import parser, read, report
from rig.contender import Case
from rig.environment import machine, versions

NUMBERS = ["D1", "D2", "D3", "D4", "D5", "D6", "batches", "awaited", "published", "consumed"]
TASKS = 256
KIB = 1_024
STOCK = 100_000
STOCK_FASTSTREAM = 2_000
STOCK_KOMBU = 300


def cases(arena: Arena, stock: int) -> list[Case]:
    """Kafka's."""
    appending, sending = ours.appending(arena, KIB), ours.sending(arena, KIB, TASKS)
    handling = ours.handling(arena, stock, KIB)
    return [
        Case("D1", appending, peers.confluent_produce(arena, KIB)),
        Case("D2", ours.appending(arena, 100), peers.confluent_produce(arena, 100)),
        Case("D3", sending, peers.aiokafka_send(arena, KIB, TASKS)),
        Case("D4", appending, frameworks.faststream_publish(arena, KIB, TASKS)),
        Case("D5", ours.reading(arena, stock, KIB), peers.confluent_consume(arena, stock)),
        Case("D6", handling, frameworks.faststream_subscriber(arena, STOCK_FASTSTREAM, stock)),
        Case("batches", appending, peers.aiokafka_batches(arena, KIB)),
        Case("awaited", sending, peers.aioproducer_produce(arena, KIB, TASKS)),
        Case("published", sending, frameworks.kombu_publish(arena, KIB)),
        Case("consumed", handling, frameworks.kombu_consumer(arena, STOCK_KOMBU, KIB)),
    ]


def main() -> None:
    arguments = parser("engines", "evermq over Kafka against confluent-kafka, aiokafka, FastStream and kombu.")
    arguments.add_argument("--count", type=int, default=STOCK, metavar="N", help=f"messages read, default {STOCK}")
    options = read(arguments, NUMBERS)
    around = {
        **machine(),
        "lanes": LANES,
        "batch": BATCH,
        "appends_under_way": SENDERS,
        "server_warmed_up_s": WARM_S,
        "versions": versions("evermq", "aiokafka", "confluent-kafka", "faststream", "kombu"),
    }
    with Arena() as arena:
        report("engines", options, cases(arena, options.given.count), lambda: around)


if __name__ == "__main__":
    main()
