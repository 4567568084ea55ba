"""A storm over an ordered ladder of two real Redis servers and the host's own log: senders and readers in processes of
their own are killed, the servers are killed and frozen, one and both; then everything must be handled.

    python -m tests.drills.storm DIRECTORY SEED SECONDS
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from evermq.adapters.open import open_queue
from evermq.drills.engines.redis import Redis
from evermq.drills.load import make
from evermq.drills.traffic import Load, Traffic
from evermq.numbers import number_of
from evermq.testing.checker import Expect, Verdict
from evermq.testing.history import load

__all__ = ["Storm"]

GROUP, WITNESS = "billing", "witness"  # the second one reads at the end, so that the servers keep everything
FLAVOURS = ("sender", "reader", "reader", "primary", "standby", "both")


class Storm:
    """One seed. directory: for the histories and all state. flagged: what was handed out although nothing was lost."""

    def __init__(self, directory: Path, seed: int, seconds: float, *, rate: float = 300) -> None:
        self.directory = directory
        self.seconds = seconds
        self.flagged: list[str] = []
        self.missing: list[str] = []
        self._chance = random.Random(seed)
        self._servers = {"primary": Redis(), "standby": Redis()}
        expect = Expect(acknowledged_min=1_000, groups=frozenset({GROUP}))
        load = Load(rate=rate, producers=3, consumers=2, keys=50, drain_s=90, quiet_s=4, expect=expect)
        self._config = directory / "evermq.toml"
        self._traffic = Traffic(directory, "orders", self._config, [GROUP], load)

    async def run(self) -> Verdict:
        for server in self._servers.values():
            await asyncio.to_thread(server.start)
        try:
            self._configure()
            await make("orders", self._config, [GROUP, WITNESS])
            verdict = await self._traffic.through(self._rage)
            await self._look(verdict)
            return verdict
        finally:
            for server in self._servers.values():
                await asyncio.to_thread(server.stop)

    def _configure(self) -> None:
        lines = ["[topics.orders]", 'use = "failover"', f'groups = ["{GROUP}", "{WITNESS}"]', 'order = "key"']
        lines += ['dedupe = "producer"', f'progress = "log://{self.directory}/progress"']
        lines += [f'{key} = "{self._url(key)}"' for key in self._servers]
        self._config.write_text("\n".join([*lines, f'last = "log://{self.directory}/last/orders"', ""]))

    def _url(self, key: str) -> str:
        return f"{self._servers[key].url('orders')}?lanes={12 if key == 'primary' else 32}&lease_ms=4000"

    async def _rage(self) -> None:
        end = time.monotonic() + self.seconds
        stage, chance = self._traffic.stage, self._chance
        await asyncio.sleep(2)
        while time.monotonic() < end:
            which = chance.choice(FLAVOURS)
            if which in ("sender", "reader"):
                role = "producer" if which == "sender" else "consumer"
                await stage.kill_and_restart(chance.choice(stage.named(role)).name)
            else:
                keys = list(self._servers) if which == "both" else [which]
                stage.note("fault_on", which)
                await asyncio.gather(*(self._break(key) for key in keys))
                stage.note("fault_off", which)
            await asyncio.sleep(chance.uniform(0.1, 1.5))

    async def _break(self, key: str) -> None:
        node, chance = self._servers[key].nodes["redis"], self._chance
        begin, heal = chance.choice([(node.kill, node.start), (node.freeze, node.thaw)])
        beside = asyncio.create_task(self._kill_beside())
        await asyncio.to_thread(begin)
        await asyncio.sleep(chance.uniform(0.5, 7))
        await asyncio.to_thread(heal)
        await beside

    async def _kill_beside(self) -> None:
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.uniform(0.2, 3))
            stage = self._traffic.stage
            role = self._chance.choice(("producer", "consumer"))
            await stage.kill_and_restart(self._chance.choice(stage.named(role)).name)

    async def _look(self, verdict: Verdict) -> None:
        """What was flagged, and of what was acknowledged and not handled, where it lies and what is known of it."""
        events = load(sorted(self.directory.glob("history-*.jsonl")))
        self.flagged = [f"{each.id}: {each.detail}" for each in events if each.ev == "deliver" and each.detail]
        handled = {each.id for each in events if each.ev == "handler_ok"}
        missing = {each.id for each in events if each.ev == "send_ok"} - handled
        if missing or self.flagged:
            self.missing = await self._whereabouts(missing | {text.split(":")[0] for text in self.flagged})

    async def _whereabouts(self, ids: set[str]) -> list[str]:
        states = self._states()
        found = []
        for key in self._servers:
            queue = await open_queue(self._url(key))
            reader = await queue.reader(WITNESS)
            while some := await reader.read(count_max=500, wait_ms=1_000):
                for message, position in [(each.message, each.position) for each in some]:
                    number = number_of(message)
                    if number and message.id.removesuffix("-void") in ids:
                        known = states.get(number.stream, "unknown")
                        found.append(f"{message.id} {key}/{position.lane}/{position.offset} {tuple(number)} {known}")
                await reader.ack(some)
            await reader.close()
            await queue.close()
        return sorted(found)

    def _states(self) -> dict[str, str]:
        path = self.directory / "evermq-progress.sqlite"
        with closing(sqlite3.connect(path)) as store:
            query = "SELECT stream, state FROM evermq_states WHERE grp = ?"
            return dict(store.execute(query, (GROUP,)).fetchall())


async def _main(directory: Path, seed: int, seconds: float) -> None:
    directory.mkdir(parents=True)
    storm = Storm(directory, seed, seconds)
    verdict = await storm.run()
    (directory / "whereabouts.txt").write_text("\n".join([*storm.flagged, "", *storm.missing, ""]))
    counts = {name: count for name, count in verdict.counts.items() if count}
    print(
        json.dumps(
            {
                "seed": seed,
                "verdict": verdict.verdict,
                "reasons": verdict.reasons,
                **counts,
                "acknowledged": verdict.acknowledged,
                "flagged": len(storm.flagged),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
