"""RocketMQ's topologies, seen through its remoting protocol."""

import time

import pytest

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.ports import answers
from evermq.drills.engines.remoting import ask
from evermq.drills.engines.rocketmq import CLUSTER_NAME, RocketMQ, RocketMQSecured
from evermq.drills.engines.rocketmq_three import RocketMQThree
from evermq.errors import Unavailable

ROUTE = 105  # RequestCode.GET_ROUTEINFO_BY_TOPIC
START = pytest.mark.timeout(400)  # eight Java processes on a machine that is busy


def is_routed(server: RocketMQ, topic: str) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if ask(server.name_ports[0], ROUTE, {"topic": topic}).code == 0:
            return True
        time.sleep(0.2)
    return False


@START
def test_topic_outlives_a_killed_server_of_rocketmq(rocketmq_server: Engine, topic: str) -> None:
    assert isinstance(rocketmq_server, RocketMQ)
    rocketmq_server.create(topic, kind="FIFO")
    assert is_routed(rocketmq_server, topic)
    assert ask(rocketmq_server.name_ports[0], ROUTE, {"topic": f"{topic}-other"}).code
    server = rocketmq_server.leader()
    server.kill()
    assert answers(rocketmq_server.grpc_port) is None
    server.start()
    assert is_routed(rocketmq_server, topic)


@START
def test_secured_broker_refuses_whoever_does_not_sign(rocketmq_secured_server: Engine, topic: str) -> None:
    assert isinstance(rocketmq_secured_server, RocketMQSecured)
    with pytest.raises(Unavailable, match=topic):
        RocketMQ.create(rocketmq_secured_server, topic)
    rocketmq_secured_server.create(topic)
    assert is_routed(rocketmq_secured_server, topic)
    assert "app-*" in rocketmq_secured_server.tool("listAcl", "-c", CLUSTER_NAME, "-s", "User:app")


@START
def test_slave_becomes_master_when_the_master_is_killed(rocketmq_three_server: Engine, topic: str) -> None:
    assert isinstance(rocketmq_three_server, RocketMQThree)
    rocketmq_three_server.create(topic)
    first = rocketmq_three_server.leader()
    first.kill()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if rocketmq_three_server.leader() is not first:
                break
        except Unavailable:
            time.sleep(0.1)
    assert rocketmq_three_server.leader() is not first
    assert is_routed(rocketmq_three_server, topic)
