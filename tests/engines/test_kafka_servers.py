"""Kafka's topologies: what a client is told, what a kill leaves, and who may come in."""

import asyncio
import time

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.kafka import Kafka, KafkaPlain, KafkaSecured, KafkaThree
from evermq.drills.faults.proxy import Proxy

QUIET = {"log_level": 0, "socket.timeout.ms": 4_000}


def admin(server: Engine, **settings: str) -> AdminClient:
    assert isinstance(server, Kafka)
    return AdminClient({"bootstrap.servers": server.bootstrap(), **QUIET, **dots(settings)})


def dots(settings: dict[str, str]) -> dict[str, str]:
    return {key.replace("_", "."): value for key, value in settings.items()}


def make(server: Engine, topic: str, **settings: str) -> None:
    client = admin(server, **settings)  # its futures fail when it goes
    [made] = client.create_topics([NewTopic(topic, num_partitions=2)]).values()
    made.result(20)


def send(server: Engine, topic: str, **settings: str) -> int:
    """Send ten and return how many were acknowledged."""
    assert isinstance(server, Kafka)
    said: list[KafkaError | None] = []
    producer = Producer(
        {"bootstrap.servers": server.bootstrap(), "delivery.timeout.ms": 15_000, **QUIET, **dots(settings)}
    )
    for number in range(10):
        producer.produce(topic, b"x", str(number), on_delivery=lambda error, _: said.append(error))
    producer.flush(35)
    return sum(error is None for error in said)


def secured(server: Engine, user: str, **settings: str) -> dict[str, str]:
    assert isinstance(server, KafkaSecured | KafkaPlain)
    login = {"sasl_username": user, "sasl_password": server.secrets.users[user]}
    if isinstance(server, KafkaPlain):
        return {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **login, **settings}
    tls = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "ssl_ca_location": str(server.secrets.ca),
    }
    return {**tls, **login, **settings}


def test_topic_outlives_a_killed_server(kafka_server: Engine, topic: str) -> None:
    make(kafka_server, topic)
    assert send(kafka_server, topic) == 10
    kafka_server.leader(topic).restart()
    assert topic in admin(kafka_server).list_topics(timeout=10).topics
    assert send(kafka_server, topic) == 10


def test_topic_is_not_made_by_asking_for_it(kafka_server: Engine, topic: str) -> None:
    asked = admin(kafka_server).list_topics(topic, timeout=10).topics[topic]
    assert asked.error is not None
    assert topic not in admin(kafka_server).list_topics(timeout=10).topics


async def test_clients_at_the_front_door_are_led_through_the_proxy_to_every_broker(kafka_server: Engine) -> None:
    assert isinstance(kafka_server, Kafka)
    async with Proxy(kafka_server.doors[0]) as proxy:
        client = AdminClient({"bootstrap.servers": kafka_server.bootstrap(proxied=True), **QUIET})
        told = await asyncio.to_thread(client.list_topics, timeout=10)
        assert [broker.port for broker in told.brokers.values()] == [kafka_server.doors[0].front]
        assert proxy.happened["connections"] > 0


def test_another_node_leads_when_the_leader_is_killed(kafka_three_server: Engine, topic: str) -> None:
    assert isinstance(kafka_three_server, KafkaThree)
    make(kafka_three_server, topic)
    told = admin(kafka_three_server).list_topics(topic, timeout=10).topics[topic]
    assert len(told.partitions[0].replicas) == 3
    first = kafka_three_server.leader(topic)
    first.kill()
    assert send(kafka_three_server, topic) == 10
    end = time.monotonic() + 30
    while kafka_three_server.leader(topic) is first and time.monotonic() < end:
        time.sleep(0.2)
    assert kafka_three_server.leader(topic) is not first


def test_users_of_the_secured_server_have_the_rights_that_they_should_have(kafka_secured_server: Engine) -> None:
    app, root = secured(kafka_secured_server, "app"), secured(kafka_secured_server, "admin")
    make(kafka_secured_server, "app-orders", **app)
    make(kafka_secured_server, "secret", **root)
    assert send(kafka_secured_server, "app-orders", **app) == 10
    assert send(kafka_secured_server, "secret", **app) == 0
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        make(kafka_secured_server, "other", **app)


def test_secured_server_lets_nobody_in_with_another_password(kafka_secured_server: Engine) -> None:
    wrong = secured(kafka_secured_server, "app", sasl_password="wrong")
    with pytest.raises(KafkaException):
        admin(kafka_secured_server, **wrong).list_topics(timeout=3)


def test_plain_server_wants_a_password(kafka_plain_server: Engine, topic: str) -> None:
    make(kafka_plain_server, topic, **secured(kafka_plain_server, "app"))
    with pytest.raises(KafkaException):
        admin(kafka_plain_server, **secured(kafka_plain_server, "app", sasl_password="wrong")).list_topics(timeout=3)
