"""The load harness itself, over a log: it passes where nothing is lost, and says so where something is."""

import asyncio
from pathlib import Path

from evermq.adapters.open import open_queue
from evermq.drills.load import run_load
from evermq.drills.stage import Stage
from evermq.testing.checker import Expect


async def test_killed_producers_and_consumers_lose_nothing_over_a_log(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/orders"
    verdict = await run_load(
        url,
        ["billing", "audit"],
        seconds=4,
        rate=1000,
        directory=tmp_path / "run",
        expect=Expect(acknowledged_min=1000),
    )
    assert verdict.verdict == "PASS", verdict
    assert verdict.counts["lost"] == 0
    assert verdict.handled >= verdict.acknowledged >= 1000
    assert "PASS" in (tmp_path / "run" / "report.txt").read_text()


async def test_stolen_message_is_lost(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/orders"

    async def steal(stage: Stage) -> None:
        stage.note("fault_on", "a thief reads in the same group")
        queue = await open_queue(url)
        reader = await queue.reader("readers")
        while not (found := await reader.read(count_max=10, wait_ms=1000)):
            await asyncio.sleep(0.01)
        await reader.ack(found)
        await reader.close()
        await queue.close()

    verdict = await run_load(url, fault=steal, seconds=3, rate=400, kill=False, directory=tmp_path / "run")
    assert verdict.verdict == "FAIL", verdict
    assert verdict.counts["lost"] > 0


async def test_fault_that_never_bit_proves_nothing(tmp_path: Path) -> None:
    async def forget(stage: Stage) -> None:
        return None

    verdict = await run_load(f"log://{tmp_path}/log/orders", fault=forget, seconds=1, kill=False)
    assert verdict.verdict == "INVALID", verdict


async def test_topic_of_a_configuration_is_loaded_too(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    config.write_text(
        f'[topics.orders]\nuse = "failover"\nprimary = "log://{tmp_path}/a/orders"\nstandby = "log://{tmp_path}/b/orders"\n'
    )
    expect = Expect(via_min={"primary": 100})
    verdict = await run_load("orders", config=config, seconds=2, rate=300, kill=False, expect=expect)
    assert verdict.verdict == "PASS", verdict
