"""A drill over the user's own configuration: what may be done to its primary, and how.

Nothing is killed that evermq did not start. Servers of `evermq dev up` may be killed, stopped and frozen, and are
started again with their own command; any other server stays as it is and a proxy stands in front of it for the drill's
own processes. A log is frozen by its owner, which is a process of the drill.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from evermq.adapters.address import parse
from evermq.compose.ordering import OrderConfig
from evermq.drills.engines.engine import Door
from evermq.drills.engines.lasting import Lasting, dev_home, running
from evermq.drills.engines.ports import HOST, free_port
from evermq.drills.faults.outages import PROXIED, REFUSED, Outage, of_doors
from evermq.drills.own_topic import copy, groups_of, hosts_of, own, own_url, primary_of, topic_of
from evermq.drills.removal import remove
from evermq.drills.setting import NO_PROGRESS, Setting
from evermq.drills.traffic import new_run
from evermq.errors import Misconfigured, Unavailable

__all__ = ["given"]

_LED_PAST = "leads its clients to the addresses that it advertises, past any proxy"
_START_S = 60


@asynccontextmanager
async def given(
    topic: str, config: Path | None, fault: str | None, directory: Path, *, order: bool | None = None
) -> AsyncIterator[Setting]:
    """The user's ladder, copied for a topic of the drill's own on the same engines, which is removed again. fault: the
    worst that may be done to the primary, if None. order: what the topic has to promise, if not None. Raises
    Misconfigured for what may not be done."""
    path, run = config or Path("evermq.toml"), new_run()
    found = topic_of(topic, path)
    has_order = bool(found.order and found.order.has_order)
    if order is False and has_order:
        raise Misconfigured(
            f"--no-order: topic {topic} promises order, and a drill keeps what it promises: leave it out"
        )
    if order and not has_order:
        raise Misconfigured(f'--order: topic {topic} promises no order: give it order = "key", or leave --order out')
    url = primary_of(found.root)
    engine = parse(url).engine
    lead: Callable[[str], str] = str
    async with AsyncExitStack() as stack:
        dev = _dev_engine(url)
        if engine == "log":
            outage = await _freeze_owner(stack, own_url(url, run), fault or "freeze")
        elif dev and (fault or "kill") not in PROXIED:
            outage = _of_dev(dev, fault or "kill")
        else:
            doors = _doors(url, fault or "cut")
            outage, proxies = await of_doors(doors, fault or "cut")
            for proxy in proxies:
                stack.push_async_exit(proxy)
            lead = partial(_to_fronts, url, doors)
        copied = copy(topic, path, directory / "evermq.toml", run, lead)
        effects, unjudged = _database(found.order)
        setting = Setting(
            copied, own(topic, run), groups_of(found, run), outage, (engine,), has_order, effects,
            run=run, unjudged=unjudged,
        )  # fmt: skip
        direct = copy(topic, path, directory / "direct.toml", run)
        try:
            yield setting
        finally:
            setting.left.extend(await remove(topic_of(setting.topic, direct), setting.groups))
            direct.unlink()


def _database(order: OrderConfig | None) -> tuple[str, str]:
    """Where effects share a transaction with progress, or why nowhere."""
    if order is None:
        return "", NO_PROGRESS
    scheme, _, place = order.progress.partition("://")
    if scheme == "log":
        return "", "progress is a log of this host, which no handler shares a transaction with"
    if scheme.startswith("sqlite") and place in ("", "/", "/:memory:"):
        return "", "progress is in the memory of each process"
    return order.progress, ""


def _to_fronts(primary: str, doors: Sequence[Door], url: str) -> str:
    """That of the primary behind the proxies."""
    fronts = ",".join(f"{HOST}:{door.front}" for door in doors)
    return url.replace(parse(url).place.partition("/")[0], fronts, 1) if url == primary else url


def _dev_engine(url: str) -> Lasting | None:
    """The servers of `evermq dev up` behind a URL."""
    hosts = set(hosts_of(url))
    for each in running(dev_home()):
        if hosts and hosts <= set(hosts_of(each.url + "drill")):
            return each
    return None


def _of_dev(engine: Lasting, fault: str) -> Outage:
    """Of servers of `evermq dev up`."""
    numbers = {"kill": signal.SIGKILL, "stop": signal.SIGTERM, "freeze": signal.SIGSTOP}
    held = engine.held()

    async def begin() -> None:
        await asyncio.to_thread(held.signal, numbers[fault])

    async def heal() -> None:
        await asyncio.to_thread(held.thaw if fault == "freeze" else held.start)
        await _until_it_answers(engine.url)

    return Outage(fault, begin, heal, refuses=fault in REFUSED)


def _doors(url: str, fault: str) -> list[Door]:
    """In front of servers that are not ours. Raises Misconfigured where no proxy can stand there."""
    address = parse(url)
    if fault not in PROXIED:
        may = ", ".join(PROXIED)
        raise Misconfigured(f"--fault {fault}: {address} was not started by evermq dev up, which may be: give {may}")
    if address.scheme in ("kafka", "rocketmq") or {"sentinel", "cluster"} & address.options.keys():
        raise Misconfigured(
            f"--fault {fault}: {address} {_LED_PAST}: drill with --engines, or with servers of evermq dev up"
        )
    if address.scheme in ("rediss", "rabbitmqs"):
        raise Misconfigured(
            f"--fault {fault}: {address} speaks TLS, whose certificate names no proxy: drill with --engines"
        )
    return [Door(free_port(), port, host) for host, port in hosts_of(url)]


async def _freeze_owner(stack: AsyncExitStack, url: str, fault: str) -> Outage:
    """A process of ours owns the log before anybody else opens it."""
    if fault != "freeze":
        raise Misconfigured(f"--fault {fault}: a log has no server, another process takes over at once: give freeze")
    command = [sys.executable, "-m", "evermq.drills.load_roles", "owner", url]
    owner = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )

    async def end() -> None:
        if owner.returncode is None:
            owner.kill()
        await owner.wait()

    stack.push_async_callback(end)
    assert owner.stdout
    if b"owner" not in (said := await asyncio.wait_for(owner.stdout.readline(), _START_S)):
        raise Misconfigured(
            f"{url}: another process owns this log, and is not ours to freeze: end it ({said.decode()})"
        )

    async def act(number: signal.Signals) -> None:
        owner.send_signal(number)

    return Outage("freeze", lambda: act(signal.SIGSTOP), lambda: act(signal.SIGCONT))


async def _until_it_answers(url: str) -> None:
    from evermq.adapters.open import open_place
    from evermq.errors import Uncertain

    until = asyncio.get_running_loop().time() + _START_S
    while True:
        try:
            place = await open_place(url.rstrip("/"))
            await place.topics()
            return await place.close()
        except (Unavailable, Uncertain):
            if asyncio.get_running_loop().time() > until:
                raise
            await asyncio.sleep(0.3)
