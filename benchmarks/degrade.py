"""What degrading costs, before, during and after: `python benchmarks/degrade.py --quick`.

F1 to F4: the standby, a Redis with appendfsync always, against what a Redis can do by itself. plain, keyed: the same
against the rates that it has to carry. F5, F6: the whole ladder
while nothing is wrong, against the bare adapter of its primary. Drain: the return, with live traffic beside it. See
docs/guide/degrade.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis_lanes
from brokers.arena import BATCH, Arena
from ladder.draining import Draining
from ladder.healthy import appending, there_and_back
from ladder.rungs import Rungs, standing
from lanes.arena import LANES
from rig.command import Options, parser, read, report
from rig.contender import Case, Contender, Measure
from rig.environment import disk, machine, versions

BARE = [*redis_lanes.NUMBERS, "plain", "keyed"]
NUMBERS = [*BARE, "F5", "F6", "drain", "live"]
COUNT = 256_000  # with fewer, the end of a run counts, at which readers wait for more
PLAIN_PER_S, KEYED_PER_S = 100_000, 50_000
BACKLOG, LIVE_PER_S = 60_000, 5_000


def carrying(standby: Mapping[str, Contender]) -> list[Case]:
    """The appends of F1 and F2 beside the rates that an outage asks of them."""
    return [Case("plain", standby["F1"], asked(PLAIN_PER_S)), Case("keyed", standby["F2"], asked(KEYED_PER_S))]


def asked(per_s: int) -> Contender:
    """Nobody, but a rate."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        yield lambda seconds: float(per_s)

    return Contender(f"{per_s:,} messages/s", ready)


def healthy(rungs: Rungs) -> list[Case]:
    """The ladder beside its primary."""
    return [
        Case("F5", appending("ladder", rungs, rungs.ladder), appending("bare kafka", rungs, rungs.primary)),
        Case(
            "F6",
            there_and_back("ordered ladder", rungs, rungs.ordered),
            there_and_back("bare kafka", rungs, rungs.primary),
        ),
    ]


def returning(rungs: Rungs, backlog: int, live_per_s: int) -> list[Case]:
    """A backlog of the standby is read while live traffic goes to the primary."""
    draining = Draining(rungs, live_per_s=live_per_s, backlog=backlog)
    live = f"live, {live_per_s:,} messages/s"
    return [
        Case("drain", draining.contender("drained", f"backlog of {backlog:,}"), draining.contender("live", live)),
        Case("live", draining.contender("draining", f"1 / p99 of {live}"), draining.contender("healthy", "healthy")),
    ]


@contextmanager
def cases(directory: Path, options: Options) -> Iterator[list[Case]]:
    """Engines are started for those that were asked for."""
    wanted = set(options.numbers or NUMBERS)
    lanes = redis_lanes.cases(directory, options.given.count)
    lanes += carrying({case.number: case.subject for case in lanes})
    if wanted <= set(BARE):
        yield lanes
        return
    with Arena() as kafka, standing(kafka, directory) as rungs:
        yield [*lanes, *healthy(rungs), *returning(rungs, options.given.backlog, options.given.live)]


def main() -> None:
    arguments = parser("degrade", "A ladder of Kafka, Redis and a log: its standby, its cost, its return.")
    arguments.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"messages read, default {COUNT}")
    arguments.add_argument("--backlog", type=int, default=BACKLOG, metavar="N", help=f"drained, default {BACKLOG}")
    arguments.add_argument("--live", type=int, default=LIVE_PER_S, metavar="N", help=f"a second, default {LIVE_PER_S}")
    options = read(arguments, NUMBERS)
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="degrade-", dir=options.directory) as name:
        directory = Path(name).absolute()
        around = {
            **machine(),
            **disk(directory),
            "lanes": LANES,
            "batch": BATCH,
            "versions": versions("evermq", "confluent-kafka", "redis", "hiredis"),
        }
        with cases(directory, options) as found:
            report("degrade", options, found, lambda: around)


if __name__ == "__main__":
    main()
