"""Every engine and topology: starts, answers, is killed, frozen, restarted, and leaves nothing behind."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import time

import pytest

from evermq.drills.engines.catalog import CATALOG, find
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import alive
from evermq.drills.engines.ports import HOST, answers
from evermq.drills.engines.redis import Redis, RedisSecured, RedisSentinel
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.errors import Misconfigured, Unavailable


def until(condition: object, wait_s: float = 20) -> bool:
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def ask(server: Engine, request: bytes, *, proxied: bool = False) -> bytes | None:
    door = server.doors[0]
    return answers(door.front if proxied else door.back, request)


def test_unknown_engine_is_refused_with_what_was_meant() -> None:
    with pytest.raises(Misconfigured, match="did you mean redis"):
        find("redi")
    assert find("redis") is CATALOG["redis"]


def test_redis_keeps_an_acknowledged_write_through_a_kill(redis_server: Engine, topic: str) -> None:
    assert ask(redis_server, f"SET {topic} 1\r\n".encode()) == b"+OK\r\n"
    node = redis_server.nodes["redis"]
    before = node.pid
    node.kill()
    assert not alive(before)
    assert ask(redis_server, b"PING\r\n") is None
    node.start()
    assert node.pid != before
    assert ask(redis_server, f"GET {topic}\r\n".encode()) == b"$1\r\n1\r\n"


def test_frozen_server_accepts_and_does_not_answer_until_it_is_thawed(redis_server: Engine) -> None:
    redis_server.nodes["redis"].freeze()
    assert ask(redis_server, b"PING\r\n") is None
    redis_server.nodes["redis"].thaw()
    assert ask(redis_server, b"PING\r\n") == b"+PONG\r\n"


def test_heal_thaws_and_starts_what_is_down(redis_server: Engine) -> None:
    redis_server.nodes["redis"].kill()
    redis_server.heal()
    redis_server.nodes["redis"].freeze()
    redis_server.heal()
    assert ask(redis_server, b"PING\r\n") == b"+PONG\r\n"


async def test_clients_of_the_front_door_meet_the_faults_of_the_proxy(redis_server: Engine, topic: str) -> None:
    async with Proxy(redis_server.doors[0]) as proxy:
        asked = asyncio.to_thread(ask, redis_server, b"PING\r\n", proxied=True)
        assert await asked == b"+PONG\r\n"
        await proxy.set(Fault(swallow=1.0))
        request = f"SET {topic} swallowed\r\n".encode()
        assert await asyncio.to_thread(ask, redis_server, request, proxied=True) in (None, b"")
    assert ask(redis_server, f"GET {topic}\r\n".encode()) == b"$9\r\nswallowed\r\n"
    assert f":{redis_server.doors[0].front}/" in redis_server.url(topic, proxied=True)


def test_server_that_cannot_start_says_why() -> None:
    with pytest.raises(Unavailable, match="no-such-setting"):
        Redis(no_such_setting="1").start()


def test_stopped_engine_leaves_no_process_and_no_directory() -> None:
    server = Redis().start()
    [pid] = server.pids
    server.stop()
    assert not alive(pid)
    assert not server.directory.exists()


def test_servers_end_with_the_process_that_started_them_even_if_it_is_killed() -> None:
    starts = """
        import time
        from evermq.drills.engines.redis import Redis, RedisSecured, RedisSentinel
        with Redis() as server:
            server.nodes["redis"].freeze()
            print(server.pids[0], server.directory, flush=True)
            time.sleep(60)
    """
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(starts)], stdout=subprocess.PIPE, env=os.environ)
    assert owner.stdout
    number, directory = owner.stdout.readline().split()
    pid = int(number)
    assert alive(pid)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert until(lambda: not alive(pid) and not os.path.exists(directory))


def test_sentinels_promote_the_replica_when_the_master_is_killed(redis_sentinel_server: Engine) -> None:
    assert isinstance(redis_sentinel_server, RedisSentinel)
    first = redis_sentinel_server.leader()
    first.kill()
    assert until(lambda: redis_sentinel_server.leader() is not first, 40)
    ports = [door.back for door in redis_sentinel_server.doors[:2]]
    assert until(lambda: b"role:master" in roles(ports))
    first.start()
    assert until(lambda: b"role:slave" in roles(ports))


def roles(ports: list[int]) -> bytes:
    return b"".join(answers(port, b"INFO replication\r\n") or b"" for port in ports)


def test_cluster_shares_the_keys_among_three_nodes(redis_cluster_server: Engine) -> None:
    ports = [door.back for door in redis_cluster_server.doors]
    said = [answers(port, b"SET somewhere 1\r\n") or b"" for port in ports]
    assert sorted(answer[:3] for answer in said) == [b"+OK", b"-MO", b"-MO"]
    redis_cluster_server.nodes["redis-1"].restart()
    assert until(lambda: b"cluster_state:ok" in (answers(ports[0], b"CLUSTER INFO\r\n") or b""))


def test_secured_server_wants_tls_a_password_and_rights(redis_secured_server: Engine) -> None:
    assert isinstance(redis_secured_server, RedisSecured)
    secrets = redis_secured_server.secrets
    trusted = ssl.create_default_context(cafile=str(secrets.ca))
    with (
        socket.create_connection((HOST, redis_secured_server.port), timeout=10) as plain,
        trusted.wrap_socket(plain, server_hostname="localhost") as connection,
    ):

        def tell(line: str) -> bytes:
            connection.sendall(line.encode() + b"\r\n")
            return connection.recv(4096)

        assert tell("PING").startswith(b"-NOAUTH")
        assert tell("AUTH app wrong").startswith(b"-WRONGPASS")
        assert tell(f"AUTH app {secrets.users['app']}") == b"+OK\r\n"
        assert tell("SET evermq:{app-orders:1}:list 1") == b"+OK\r\n"
        assert tell("SET evermq:{other:1}:list 1").startswith(b"-NOPERM")
        assert tell("FLUSHALL").startswith(b"-NOPERM")
    assert secrets.password_file("app").stat().st_mode & 0o077 == 0
