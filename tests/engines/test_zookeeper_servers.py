"""ZooKeeper and etcd, which hold switches and elections."""

import time

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.ports import answers
from evermq.drills.engines.zookeeper import ZooKeeperThree, mode


def http(port: int, path: str, body: str) -> str:
    request = f"POST {path} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    return (answers(port, request.encode(), wait_s=5) or b"").decode()


def test_single_server_is_killed_and_comes_back(zookeeper_server: Engine) -> None:
    port = zookeeper_server.doors[0].back
    assert mode(port) == "standalone"
    zookeeper_server.nodes["zookeeper-1"].kill()
    assert mode(port) == ""
    zookeeper_server.heal()
    assert mode(port) == "standalone"


def test_two_of_three_servers_go_on_with_a_new_leader(zookeeper_three_server: Engine) -> None:
    assert isinstance(zookeeper_three_server, ZooKeeperThree)
    first = zookeeper_three_server.leader()
    first.kill()
    end = time.monotonic() + 30
    while "leader" not in [mode(door.back) for door in zookeeper_three_server.doors] and time.monotonic() < end:
        time.sleep(0.1)
    assert zookeeper_three_server.leader() is not first


def test_etcd_keeps_a_value_through_a_kill(etcd_server: Engine) -> None:
    port = etcd_server.doors[0].back
    assert '"revision"' in http(port, "/v3/kv/put", '{"key": "a2V5", "value": "dmFsdWU="}')
    etcd_server.leader("").restart()
    assert '"dmFsdWU="' in http(port, "/v3/kv/range", '{"key": "a2V5"}')
