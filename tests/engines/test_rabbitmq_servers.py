"""RabbitMQ's topologies, seen through their management interface."""

import ssl
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.ports import HOST, answers
from evermq.drills.engines.rabbitmq import RabbitMQ, RabbitMQSecured
from evermq.errors import Unavailable

T = TypeVar("T")
QUORUM = {"durable": True, "arguments": {"x-queue-type": "quorum"}}


def publish(server: RabbitMQ, queue: str, body: str) -> bool:
    content = {"properties": {"delivery_mode": 2}, "routing_key": queue, "payload": body, "payload_encoding": "string"}
    answer = server.ask("/api/exchanges/%2F/amq.default/publish", "POST", content)
    return bool(answer["routed"])


def take(server: RabbitMQ, queue: str) -> list[str]:
    asked = {"count": 10, "ackmode": "ack_requeue_false", "encoding": "auto"}
    return [each["payload"] for each in server.ask(f"/api/queues/%2F/{queue}/get", "POST", asked)]


def eventually(ask: Callable[[], T]) -> T:
    """Asked again while a queue that has just changed hands is not there."""
    end = time.monotonic() + 40
    while True:
        try:
            return ask()
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def leader(server: RabbitMQ, topic: str) -> str:
    return eventually(lambda: server.leader(topic).name)


def test_message_of_a_quorum_queue_outlives_a_killed_server(rabbitmq_server: Engine, topic: str) -> None:
    assert isinstance(rabbitmq_server, RabbitMQ)
    rabbitmq_server.ask(f"/api/queues/%2F/{topic}", "PUT", QUORUM)
    assert publish(rabbitmq_server, topic, "kept")
    time.sleep(2)  # a younger queue does not outlive a kill of all its nodes
    node = rabbitmq_server.nodes["rabbit-1"]
    node.kill()
    assert answers(rabbitmq_server.doors[0].back) is None
    node.start()
    assert leader(rabbitmq_server, topic) == "rabbit-1"
    assert eventually(lambda: take(rabbitmq_server, topic)) == ["kept"]


def test_nodes_and_their_name_server_listen_on_loopback_only(rabbitmq_server: Engine) -> None:
    import psutil

    processes = [psutil.Process(pid) for pid in rabbitmq_server.pids]  # type: ignore[no-untyped-call]
    family = [*processes, *(child for each in processes for child in each.children(recursive=True))]  # type: ignore[no-untyped-call]
    heard = [each for process in family for each in process.net_connections() if each.status == "LISTEN"]
    assert heard
    assert {each.laddr.ip for each in heard} <= {HOST, "::1"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_another_node_leads_the_queue_when_its_leader_is_killed(rabbitmq_three_server: Engine, topic: str) -> None:
    assert isinstance(rabbitmq_three_server, RabbitMQ)
    assert len(rabbitmq_three_server.ask("/api/nodes")) == 3
    rabbitmq_three_server.ask(f"/api/queues/%2F/{topic}", "PUT", QUORUM)
    assert publish(rabbitmq_three_server, topic, "kept")
    first = leader(rabbitmq_three_server, topic)
    rabbitmq_three_server.nodes[first].kill()
    end = time.monotonic() + 60
    while leader(rabbitmq_three_server, topic) == first and time.monotonic() < end:
        time.sleep(0.5)
    assert leader(rabbitmq_three_server, topic) != first
    assert eventually(lambda: take(rabbitmq_three_server, topic)) == ["kept"]


def test_secured_server_wants_tls_and_its_users_have_their_rights(rabbitmq_secured_server: Engine) -> None:
    import socket

    assert isinstance(rabbitmq_secured_server, RabbitMQSecured)
    port = rabbitmq_secured_server.doors[0].back
    trusted = ssl.create_default_context(cafile=str(rabbitmq_secured_server.secrets.ca))
    with (
        socket.create_connection((HOST, port), timeout=10) as plain,
        trusted.wrap_socket(plain, server_hostname=HOST) as wrapped,
    ):
        wrapped.sendall(b"AMQP\x00\x00\x09\x01")
        assert wrapped.recv(1) == b"\x01"
    assert (answers(port, b"AMQP\x00\x00\x09\x01") or b"")[:1] != b"\x01"
    users = {each["name"] for each in rabbitmq_secured_server.ask("/api/users")}
    assert users == {"admin", "app"}
    [rights] = rabbitmq_secured_server.ask("/api/users/app/permissions")
    assert rights["vhost"] == "app"
    assert rights["write"].startswith("^(app-")
