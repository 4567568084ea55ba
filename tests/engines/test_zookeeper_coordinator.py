"""The coordinator over a real ZooKeeper: the suite, lost sessions, missing rights."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_acl, make_digest_acl

from evermq.coordination.open import open as open_coordinator
from evermq.coordination.zookeeper import ZooKeeperCoordinator
from evermq.coordinator import Coordinator, Versioned
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import Node
from evermq.drills.engines.zookeeper import ZooKeeper, ZooKeeperThree, mode
from evermq.errors import Denied, Fenced, Misconfigured, Unavailable, Uncertain
from evermq.testing.coordinating import CHECKS, check

pytestmark = pytest.mark.timeout(120)


def hosts(engine: Engine) -> str:
    return engine.url().removeprefix("zookeeper://").rstrip("/")


def client(engine: Engine, path: str, session_ms: int = 1_000) -> ZooKeeperCoordinator:
    return ZooKeeperCoordinator(hosts(engine), path, session_ms=session_ms)


@pytest.mark.parametrize("name", CHECKS)
async def test_zookeeper_coordinator_conforms(name: str, zookeeper_server: Engine, topic: str) -> None:
    async def opens() -> Coordinator:
        return client(zookeeper_server, f"/evermq/{topic}")

    await check(name, opens)


async def test_it_goes_on_by_itself_after_its_session_was_lost(zookeeper_server: Engine, topic: str) -> None:
    one, other = client(zookeeper_server, f"/{topic}"), client(zookeeper_server, f"/{topic}")
    await one.put(b"a", version=0)
    member = await one.join("one", b"1", ttl_ms=1_000)
    lease = await one.lease("decider", ttl_ms=1_000)
    watch = other.watch()
    assert await anext(watch) == Versioned(b"a", 1)
    [node] = zookeeper_server.nodes.values()
    await asyncio.to_thread(node.kill)
    while lease.held:
        await asyncio.sleep(0.02)
    with pytest.raises(Unavailable):
        await one.get()
    with pytest.raises((Unavailable, Uncertain)):
        await member.update(b"2")
    await lease.release()  # done once that is possible, if the session outlives this
    await asyncio.sleep(1)
    await asyncio.to_thread(node.start)
    while await _or_none(other.members()) != {"one": b"2"}:  # said all the same, once that was possible
        await asyncio.sleep(0.05)
    again = await one.lease("decider", ttl_ms=1_000)
    assert again.number > lease.number
    await one.put(b"b", version=1)
    assert await anext(watch) == Versioned(b"b", 2)
    await one.close()
    await other.close()


async def _or_none(act: object) -> object:
    try:
        return await act  # type: ignore[misc]
    except (Unavailable, Uncertain):
        return None


@pytest.mark.parametrize("is_held", [True, False])
async def test_lease_that_could_not_be_given_back_at_once_keeps_nobody_waiting(
    zookeeper_server: Engine, topic: str, monkeypatch: pytest.MonkeyPatch, is_held: bool
) -> None:
    """The session that made it goes on. is_held: it is released; else the attempt was given up."""
    one, other = client(zookeeper_server, f"/{topic}"), client(zookeeper_server, f"/{topic}")
    call, refused = one._session.call, ["delete" if is_held else "get_children"] * 3

    async def refusing(verb: str, *arguments: Any, **options: Any) -> Any:
        if verb in refused:
            refused.remove(verb)
            raise Unavailable("no majority for a moment")
        return await call(verb, *arguments, **options)

    await one.members()
    if is_held:
        lease = await one.lease("decider", ttl_ms=1_000)
        monkeypatch.setattr(one._session, "call", refusing)
        await lease.release()
    else:
        monkeypatch.setattr(one._session, "call", refusing)
        with pytest.raises(Unavailable):
            await one.lease("decider", ttl_ms=1_000)
    async with asyncio.timeout(10):
        assert (await other.lease("decider", ttl_ms=1_000)).held
    assert not refused
    await one.close()
    await other.close()


async def test_frozen_server_is_unavailable_and_its_answer_uncertain(zookeeper_server: Engine, topic: str) -> None:
    one = client(zookeeper_server, f"/{topic}", session_ms=10_000)
    await one.put(b"a", version=0)
    [node] = zookeeper_server.nodes.values()
    node.freeze()
    try:
        while await _or_none(one.get()):
            pass  # it stands still a moment later
        with pytest.raises((Unavailable, Uncertain)):
            await one.put(b"b", version=1)
        with pytest.raises(Unavailable):
            await one.get()
    finally:
        node.thaw()
    while await _or_none(one.get()) not in (Versioned(b"a", 1), Versioned(b"b", 2)):
        await asyncio.sleep(0.05)
    await one.close()


async def test_path_without_rights_is_refused_with_the_reason(zookeeper_server: Engine, topic: str) -> None:
    def lock() -> None:
        admin = KazooClient(hosts(zookeeper_server))
        admin.start()
        admin.add_auth("digest", "ops:secret")
        acl = [make_digest_acl("ops", "secret", all=True), make_acl("world", "anyone", read=True)]
        for path in (f"/{topic}", f"/{topic}/value", f"/{topic}/members", f"/{topic}/leases"):
            admin.create(path, b"", acl=acl)
        admin.stop()
        admin.close()

    await asyncio.to_thread(lock)
    stranger = client(zookeeper_server, f"/{topic}")
    with pytest.raises(Denied, match=f"no right to set /{topic}/value"):
        await stranger.get()
    below = client(zookeeper_server, f"/{topic}/below")
    with pytest.raises(Denied, match="no right to ensure_path"):
        await below.get()
    ops = ZooKeeperCoordinator(hosts(zookeeper_server), f"/{topic}", username="ops", password="secret")
    assert (await ops.put(b"a", version=0)).version == 1
    for each in (stranger, below, ops):
        await each.close()


async def test_what_an_identity_made_no_other_may_write(zookeeper_server: Engine, topic: str) -> None:
    ops = ZooKeeperCoordinator(hosts(zookeeper_server), f"/{topic}/mine", username="ops", password="secret")
    await ops.put(b"a", version=0)
    for other in (client(zookeeper_server, f"/{topic}/mine"), _as(zookeeper_server, f"/{topic}/mine", "ops", "wrong")):
        with pytest.raises(Denied):
            await other.get()
        await other.close()
    await ops.close()


def _as(engine: Engine, path: str, username: str, password: str) -> ZooKeeperCoordinator:
    return ZooKeeperCoordinator(hosts(engine), path, username=username, password=password)


async def test_value_that_was_taken_away_is_made_anew(zookeeper_server: Engine, topic: str) -> None:
    one = client(zookeeper_server, f"/{topic}")
    await one.put(b"a", version=0)

    def delete() -> None:
        admin = KazooClient(hosts(zookeeper_server))
        admin.start()
        admin.delete(f"/{topic}/value")
        admin.stop()
        admin.close()

    await asyncio.to_thread(delete)
    with pytest.raises(Fenced):
        await one.put(b"b", version=1)
    assert await one.get() == Versioned(b"", 0)
    assert await one.put(b"b", version=0) == Versioned(b"b", 1)
    await one.close()


async def test_what_a_member_says_again_is_written_where_it_is_missing_and_else_not(
    zookeeper_server: Engine, topic: str
) -> None:
    """Every write stays in ZooKeeper's log until somebody purges that."""
    one, path = client(zookeeper_server, f"/{topic}"), f"/{topic}/members/one"
    member = await one.join("one", b"1", ttl_ms=1_000)
    admin = KazooClient(hosts(zookeeper_server))
    await asyncio.to_thread(admin.start)
    for _ in range(3):
        await member.update(b"1")
    assert (await asyncio.to_thread(admin.get, path))[1].version == 0
    for by_hand in (admin.delete, lambda path: admin.set(path, b"forged")):
        await asyncio.to_thread(by_hand, path)
        assert await one.members() != {"one": b"1"}
        await member.update(b"1")
        assert await one.members() == {"one": b"1"}
    await asyncio.to_thread(admin.stop)
    admin.close()
    await one.close()


async def test_nobody_there_is_unavailable_and_what_was_said_last_is_known(
    zookeeper_server: Engine, topic: str, tmp_path: Path
) -> None:
    url = f"zookeeper://{hosts(zookeeper_server)}/{topic}?session_ms=1000&remember={tmp_path}/kept"
    first = await open_coordinator(url)
    await first.put(b"a", version=0)
    await first.close()
    [node] = zookeeper_server.nodes.values()
    await asyncio.to_thread(node.kill)
    second = await open_coordinator(url)
    assert await anext(second.watch()) == Versioned(b"a", 1)
    with pytest.raises(Unavailable, match="no server answers"):
        await second.get()
    await second.close()


async def test_wrong_option_is_refused() -> None:
    for option, says in (("session=1", "session_ms"), ("session_ms=5", "from 1000 on"), ("password=x", "secrets")):
        with pytest.raises(Misconfigured, match=says):
            await open_coordinator(f"zookeeper://127.0.0.1:1/x?{option}")


async def test_majority_of_three_goes_on_and_a_minority_is_unavailable(
    zookeeper_three_server: Engine, topic: str
) -> None:
    three = zookeeper_three_server
    assert isinstance(three, ZooKeeperThree)
    one, other = client(three, f"/{topic}", 2_000), client(three, f"/{topic}", 2_000)
    await one.put(b"a", version=0)
    watch = other.watch()
    assert await anext(watch) == Versioned(b"a", 1)
    leader = await asyncio.to_thread(three.leader)
    await asyncio.to_thread(leader.kill)
    await _put_until(one, b"b", 1)
    assert await anext(watch) == Versioned(b"b", 2)
    second = await asyncio.to_thread(_leads, three)
    await asyncio.to_thread(second.kill)
    with pytest.raises((Unavailable, Uncertain)):
        await one.put(b"c", version=2)
    await asyncio.to_thread(three.heal)
    while await _or_none(one.get()) not in (Versioned(b"b", 2), Versioned(b"c", 3)):
        await asyncio.sleep(0.1)
    await one.close()
    await other.close()


def _leads(three: ZooKeeper) -> Node:
    end = time.monotonic() + 30
    while "leader" not in [mode(door.back) for door in three.doors] and time.monotonic() < end:
        time.sleep(0.1)
    return three.leader()


async def _put_until(coordinator: Coordinator, value: bytes, version: int) -> None:
    while True:
        try:
            await coordinator.put(value, version=version)
            return
        except (Unavailable, Uncertain):
            await asyncio.sleep(0.1)
        except Fenced:
            assert (await coordinator.get()).value == value  # an earlier try went in
            return


async def test_looking_again_at_what_does_not_change_keeps_one_watch_each(
    zookeeper_server: Engine, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kazoo keeps what it is to call until the node changes, which may take months."""
    monkeypatch.setattr("evermq.coordination.zookeeper._LOOK_AGAIN_S", 0.01)
    one, other = client(zookeeper_server, f"/{topic}"), client(zookeeper_server, f"/{topic}")
    await one.lease("decider", ttl_ms=1_000)
    looks: list[dict[str, int]] = []
    get = KazooClient.get_async

    def looked(self: Any, path: str, watch: Any = None) -> Any:
        if watch:
            looks.append({path: len(each) for path, each in self._data_watchers.items()})
        return get(self, path, watch)

    monkeypatch.setattr(KazooClient, "get_async", looked)
    waiting = asyncio.ensure_future(other.lease("decider", ttl_ms=1_000))
    watch = other.watch()
    await anext(watch)
    watching = asyncio.ensure_future(anext(watch, None))
    while len(looks) < 40:
        await asyncio.sleep(0.01)
    assert list(looks[-1].values()) == [1, 1]  # on the value, and on whoever holds the lease
    await one.close()
    assert (await waiting).held
    await other.close()
    assert await watching is None
