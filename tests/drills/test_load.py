"""The load harness itself, over a log: it passes where nothing is lost, and says so where something is."""

import asyncio
from pathlib import Path
from typing import Any

from evermq.adapters.open import open_queue
from evermq.compose.build import open as open_topic
from evermq.drills.load import Load, quiet_s, run_load
from evermq.drills.load_roles import Plan, effects_at
from evermq.drills.stage import Stage
from evermq.message import MessageFactory
from evermq.port import Delivery
from evermq.testing.checker import Expect
from evermq.testing.history import load as load_history


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


async def test_process_that_ends_of_an_error_fails_the_run_and_is_named(tmp_path: Path) -> None:
    """What it had not handled is not waited for: nobody will."""

    async def end(stage: Stage) -> None:
        stage.note("fault_on", "all consumers end by themselves")
        for child in stage.named("consumer"):
            child.process.kill()

    verdict = await run_load(
        f"log://{tmp_path}/log/orders", fault=end, seconds=1, kill=False, consumers=1, directory=tmp_path / "run"
    )
    assert verdict.verdict == "FAIL"
    assert verdict.reasons[0].startswith("consumer-readers-0 ended with status -9: see ")


async def test_topic_of_a_configuration_is_loaded_too(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    config.write_text(
        f'[topics.orders]\nuse = "failover"\nprimary = "log://{tmp_path}/a/orders"\nstandby = "log://{tmp_path}/b/orders"\n'
    )
    expect = Expect(via_min={"primary": 100})
    verdict = await run_load("orders", config=config, seconds=2, rate=300, kill=False, expect=expect)
    assert verdict.verdict == "PASS", verdict


def ordered(directory: Path) -> tuple[Path, str]:
    """A ladder of logs that keeps order, and the database of its progress."""
    database = f"sqlite:///{directory}/progress.sqlite"
    lines = ["[topics.orders]", 'use = "failover"', 'order = "key"', 'dedupe = "producer"', f'progress = "{database}"']
    lines += [f'{rung} = "log://{directory}/{rung}/orders"' for rung in ("primary", "standby", "last")]
    config = directory / "evermq.toml"
    config.write_text("\n".join([*lines, ""]))
    return config, database


async def test_killed_consumers_have_no_effect_twice(tmp_path: Path) -> None:
    config, database = ordered(tmp_path)

    async def kill(stage: Stage) -> None:
        stage.note("fault_on", "consumers die")
        for _ in range(4):
            await stage.kill_and_restart("consumer-readers-0")
            await stage.wait(0.7)
        stage.note("fault_off", "consumers live")

    expect = Expect(acknowledged_min=500, forbid=frozenset({"duplicates_business", "inversions"}))
    load = Load(seconds=9, rate=300, consumers=1, keys=8, kill=False, quiet_s=4, expect=expect)
    verdict = await run_load(
        "orders", fault=kill, config=config, directory=tmp_path / "run", effects=database, load=load
    )
    assert verdict.verdict == "PASS", verdict
    assert verdict.handled >= verdict.acknowledged


async def test_effect_that_was_not_acknowledged_happens_once(tmp_path: Path) -> None:
    """As a consumer that dies between its transaction and its acknowledgement."""
    config, database = ordered(tmp_path)
    effects = effects_at(database, "r1")
    assert effects
    await effects.make()
    queue: Any = await open_topic("orders", config)
    make_message = MessageFactory()
    sent = [make_message(b"x", key="k") for _ in range(20)]
    await queue.append(sent)
    reader = await queue.reader("billing")
    found: list[Delivery] = []
    while len(found) < 20:
        found += await reader.read(count_max=20, wait_ms=5_000)
    await effects.take(found[:10], "billing", queue.progress)
    await effects.take(found[:15], "billing", queue.progress)  # ten of them have taken effect
    await reader.close()
    again = await queue.reader("billing")
    left = 5
    while left > 0:
        rest = await again.read(count_max=20, wait_ms=5_000)
        await effects.take(rest, "billing", queue.progress)
        left -= len(rest)
    await effects.record(tmp_path / "history-effects.jsonl")
    events = load_history([tmp_path / "history-effects.jsonl"])
    assert [event.id for event in events] == [message.id for message in sent]
    await again.close()
    await queue.close()
    await effects.close()


def test_what_a_dead_reader_of_rocketmq_had_is_waited_for(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    lines = ["[topics.orders]", 'use = "failover"', 'primary = "rocketmq://127.0.0.1:8081/orders?lease_ms=9000"']
    config.write_text("\n".join([*lines, f'standby = "log://{tmp_path}/b/orders"', ""]))
    assert quiet_s("orders", config, ["billing"]) > 9
    config.write_text(config.read_text().replace("?lease_ms=9000", ""))
    assert quiet_s("orders", config, ["billing"]) > 30
    config.write_text(config.read_text().replace("rocketmq://127.0.0.1:8081", f"log://{tmp_path}/a"))
    assert quiet_s("orders", config, ["billing"]) == 1


async def test_process_opens_the_configuration_that_is_its_own(tmp_path: Path) -> None:
    configs = {}
    for name in ("usual", "own"):
        configs[name] = tmp_path / f"{name}.toml"
        configs[name].write_text(f'[topics.orders]\nqueue = "log://{tmp_path}/{name}/orders"\n')
    plan = Plan("orders", str(configs["usual"]), 1, 1, 1, 1, configs={"producer-0": str(configs["own"])})
    plan.write(tmp_path)
    for process, directory in (("producer-0", "own"), ("producer-1", "usual")):
        queue = await Plan.read(tmp_path).open(process)
        await queue.append([MessageFactory()(b"x")])
        assert await queue.backlog("billing") == 1
        await queue.close()
        assert (tmp_path / directory).is_dir()
