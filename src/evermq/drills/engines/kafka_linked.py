"""Three nodes of Kafka whose links to each other can be cut, one by one.

Nodes know each other by name, and each has a hosts file of its own, in which the others have addresses of loopback that
no other node uses: 127.1.FROM.TO. Proxies stand there, a pair for each direction of each link, so it needs no rights.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

from evermq.drills.engines.engine import Door
from evermq.drills.engines.kafka import KafkaThree, Member
from evermq.drills.engines.ports import HOST, free_port
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.errors import Misconfigured

__all__ = ["KafkaLinked"]

_LOST = Fault(half_open=True)  # nobody is told, as with packets that are dropped
_WAIT_S = 10


class KafkaLinked(KafkaThree):
    """As KafkaThree; clients are led past the links. Raises Misconfigured for lasting servers: their links would end
    with this process."""

    name = "kafka-linked"

    def __init__(self, directory: Path | None = None, *, lasting: bool = False, **settings: str) -> None:
        if lasting:
            raise Misconfigured(f"the links of {self.name} end with who starts it: use it in drills and tests alone")
        super().__init__(directory, lasting=False, **settings)
        self._ports: dict[int, int] = {}  # for the other brokers
        self._links: _Links | None = None

    def prepare(self) -> None:
        """And the links."""
        super().prepare()
        self._links = _Links(
            {
                (one.number, other.number): [self._ports[other.number], other.quorum]
                for one in self._members
                for other in self._members
                if one is not other
            }
        )

    def bring_up(self) -> None:
        """The links first."""
        assert self._links
        self._links.open()
        super().bring_up()

    def stop(self) -> None:
        super().stop()
        if self._links:
            self._links.close()

    def heal(self) -> None:
        assert self._links
        self._links.mend()
        super().heal()

    def cut(self, one: str, other: str) -> None:
        """Nothing passes between these two nodes, in either direction."""
        assert self._links
        first, second = (int(name.rpartition("-")[2]) for name in (one, other))
        self._links.cut([(first, second), (second, first)])

    def _port(self, number: int) -> int:
        return self._ports.setdefault(number, free_port())

    def server_settings(self, member: Member, where: Path) -> dict[str, str]:
        """Brokers and quorum meet by names."""
        found = super().server_settings(member, where)
        voters = ",".join(f"{each.number}@quorum-{each.number}:{each.quorum}" for each in self._members)
        port = self._port(member.number)
        return {
            **found,
            "controller.quorum.voters": voters,
            "inter.broker.listener.name": "LINK",
            "listeners": f"{found['listeners']},LINK://{HOST}:{port}",
            "advertised.listeners": f"{found['advertised.listeners']},LINK://kafka-{member.number}:{port}",
            "listener.security.protocol.map": f"{found['listener.security.protocol.map']},LINK:{self.protocol}",
        }

    def server_options(self, member: Member, where: Path) -> list[str]:
        """The hosts file takes the place of every other way to look up a name."""
        lines = [f"{HOST} localhost {socket.gethostname()} kafka-{member.number} quorum-{member.number}"]
        others = [each.number for each in self._members if each is not member]
        lines += [f"{_address(member.number, number)} kafka-{number} quorum-{number}" for number in others]
        hosts = where / "hosts"
        hosts.write_text("\n".join([*lines, ""]))
        return [f"-Djdk.net.hosts.file={hosts}"]


class _Links:
    """ports: of each node, by who dials and who is dialled. They live in a thread of their own, since engines are
    started and ended by code without a loop."""

    def __init__(self, ports: dict[tuple[int, int], list[int]]) -> None:
        self._proxies = {
            ends: [Proxy(Door(port, port, HOST, _address(*ends))) for port in each] for ends, each in ports.items()
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="links")
        self._thread.start()
        self._run(_all(proxy.__aenter__() for proxy in self._of(self._proxies)))

    def cut(self, ends: Iterable[tuple[int, int]]) -> None:
        self._run(_all(proxy.set(_LOST) for proxy in self._of(ends)))

    def mend(self) -> None:
        self._run(_all(proxy.heal() for proxy in self._of(self._proxies)))

    def close(self) -> None:
        if self._loop and self._thread:
            self._run(_all(proxy.set(Fault(cut=True)) for proxy in self._of(self._proxies)))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_WAIT_S)
            self._loop.close()
            self._loop = self._thread = None

    def _of(self, ends: Iterable[tuple[int, int]]) -> list[Proxy]:
        return [proxy for each in ends for proxy in self._proxies[each]]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._loop
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_S)


async def _all(acts: Iterable[Coroutine[Any, Any, Any]]) -> None:
    await asyncio.gather(*acts)


def _address(one: int, other: int) -> str:
    return f"127.1.{one}.{other}"
