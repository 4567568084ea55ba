"""Apache RocketMQ with replicas: three name servers with controllers, a master and two slaves, and two proxies."""

from __future__ import annotations

import time
from pathlib import Path

from evermq.drills.engines.node import Node
from evermq.drills.engines.ports import HOST, answers, free_port
from evermq.drills.engines.rocketmq import RocketMQ, written
from evermq.errors import Unavailable

__all__ = ["RocketMQThree"]

_CONTROLLER = {
    "enableControllerInNamesrv": "true",
    "controllerDLegerGroup": "group1",
    "mappedFileSize": "16777216",
    "enableElectUncleanMaster": "false",
    "notifyBrokerRoleChanged": "true",
    "scanNotActiveBrokerInterval": "1000",
    "scanInactiveMasterInterval": "1000",
}
# A send is answered when every replica that keeps up has it; the controller gives roles and numbers.
_REPLICATED = {
    "brokerName": "broker-a",
    "brokerId": "-1",
    "brokerRole": "SLAVE",
    "enableControllerMode": "true",
    "allAckInSyncStateSet": "true",
    "minInSyncReplicas": "2",
    "totalReplicas": "3",
    "controllerHeartBeatTimeoutMills": "3000",
    "brokerHeartbeatInterval": "1000",
    "syncBrokerMetadataPeriod": "1000",
    "checkSyncStateSetPeriod": "1000",
    "syncControllerMetadataPeriod": "2000",
    "haMaxTimeSlaveNotCatchup": "5000",
    "flushDiskType": "ASYNC_FLUSH",
}
_MASTER_S = 90


class RocketMQThree(RocketMQ):
    """Eight processes: three name servers and controllers, one master and two slaves, two proxies.

    Another replica is master a few seconds after the master was killed; a killed one may take a minute to come back.
    """

    name = "rocketmq-three"
    heavy = True

    def prepare(self) -> None:
        """Ports, configuration, nodes."""
        (self.directory / "logback.xml").write_text(self.log)
        self.name_ports = [free_port() for _ in range(3)]
        self.broker_ports = {f"broker-{i}": free_port() + 3 for i in (1, 2, 3)}
        self.grpc_ports = {f"proxy-{i}": free_port() for i in (1, 2)}
        for port in self.grpc_ports.values():
            self.door(port)
        self.nodes = {f"name-{i}": self._controller(i) for i in range(3)}
        self.nodes |= {name: self._broker(name, port) for name, port in self.broker_ports.items()}
        self.nodes |= {name: self._cluster_proxy(name, port) for name, port in self.grpc_ports.items()}

    def url(self, topic: str = "", *, proxied: bool = False) -> str:
        """rocketmq://host:port,host:port/topic?name_servers=…"""
        fronts = [door.front for door in self.doors]
        hosts = ",".join(f"{HOST}:{port}" for port in (fronts if proxied else self.grpc_ports.values()))
        return f"rocketmq://{hosts}/{topic}?name_servers={self._names}"

    def bring_up(self) -> None:
        """Controllers, then brokers; a proxy fails without a master, so it waits for one."""
        for kind in ("name", "broker"):
            self.begin([node for name, node in self.nodes.items() if name.startswith(kind)])
        end = time.monotonic() + _MASTER_S
        while True:
            try:
                self.master_port()
                break
            except Unavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        self.begin([node for name, node in self.nodes.items() if name.startswith("proxy")])

    def leader(self, topic: str = "") -> Node:
        """The master broker."""
        master = self.master_port()
        for name, port in self.broker_ports.items():
            if port == master and self.nodes[name].pid:
                return self.nodes[name]
        raise Unavailable("the master that the name servers know is down")

    def _controller(self, number: int) -> Node:
        name, port = f"name-{number}", self.name_ports[number]
        peers = ";".join(f"n{i}-{HOST}:{each + 5}" for i, each in enumerate(self.name_ports))
        own = {
            "controllerDLegerPeers": peers,
            "controllerDLegerSelfId": f"n{number}",
            "controllerStorePath": str(self.directory / name / "controller"),
        }
        return self.name_server(name, port, {**_CONTROLLER, **own}, lambda: _open(port) and _open(port + 5))

    def _broker(self, name: str, port: int) -> Node:
        where = self.directory / name
        controllers = ";".join(f"{HOST}:{each + 5}" for each in self.name_ports)
        settings = {**self.broker_settings(where, port), **_REPLICATED, "controllerAddr": controllers, **self.given}
        conf = written(where / "broker.conf", settings)
        main = ["org.apache.rocketmq.broker.BrokerStartup", "-c", str(conf)]
        return self.process(name, "320m", main, lambda: _open(port), ready_s=120)

    def _cluster_proxy(self, name: str, port: int) -> Node:
        conf: Path = self.proxy_file(self.directory / name, port, "CLUSTER")
        main = ["org.apache.rocketmq.proxy.ProxyStartup", "-pc", str(conf), "-pm", "cluster", "-n", self.name_servers]
        return self.process(name, "320m", main, lambda: _open(port), ready_s=120)


def _open(port: int) -> bool:
    return answers(port) is not None
