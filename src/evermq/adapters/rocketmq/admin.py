"""The control plane: what name servers and brokers are asked."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from evermq.adapters.rocketmq.login import Login
from evermq.adapters.rocketmq.remoting import Remoting
from evermq.errors import EvermqError, NoSuchTopic, Unavailable, Uncertain

__all__ = ["Admin"]

# RequestCode in RocketMQ's source.
_PULL, _QUERY_OFFSET, _SET_OFFSET, _MAKE_TOPIC = 11, 14, 15, 17
_CONFIG, _RUNTIME, _OFFSET_AT, _MAX_OFFSET, _MIN_OFFSET, _TIMERS = 26, 28, 29, 30, 31, 61
_ROUTE, _CLUSTER, _MAKE_GROUP, _TOPICS, _DROP_GROUP, _DROP_IN_BROKER, _DROP_IN_NAME = 105, 106, 200, 206, 207, 215, 216
_RESET, _GROUPS_OF, _SYSTEM_TOPICS, _TOPIC, _GROUP = 222, 300, 304, 351, 352

_STORED = struct.Struct(">56xq")  # storeTimestamp in a message, where the host it was born on is IPv4
_SYSTEM = re.compile(
    r"%|rmq_sys_|RMQ_SYS_|SCHEDULE_TOPIC|.*_REPLY_TOPIC$|.*HeartBeatSyncerTopic$|TRANS_CHECK|BenchmarkTest$"
    r"|OFFSET_MOVED_EVENT$|SELF_TEST_TOPIC$"
)
_TOOLS = "TOOLS_CONSUMER"
_ATTEMPTS_MAX = 1_000_000_000  # how often a message is tried is the reader's business


class Admin:
    """name_servers: host, port of each. Everything raises Unavailable where nobody answers, Denied without a right, and
    what changes something Uncertain where it may have been done."""

    def __init__(
        self,
        name_servers: Sequence[tuple[str, int]],
        login: Login,
        timeout_ms: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._login, self._timeout_ms, self._tls = login, timeout_ms, tls
        self._names = [Remoting(host, port, login, timeout_ms, tls) for host, port in name_servers]
        self._servers: dict[str, Remoting] = {}

    async def masters(self) -> dict[str, Remoting]:
        """The master of every broker group, by its name."""
        answer = await self._ask_name(_CLUSTER, {}, "list brokers")
        table = _loaded(answer.body).get("brokerAddrTable") or {}
        found = {name: each["brokerAddrs"]["0"] for name, each in table.items() if "0" in each["brokerAddrs"]}
        if not found:
            raise Unavailable("rocketmq: no name server knows a master at the moment")
        return {name: self._server(address) for name, address in found.items()}

    async def queues(self, topic: str) -> dict[str, int]:
        """How many a topic has, by broker; of those that are there. Raises NoSuchTopic."""
        answer = await self._ask_name(_ROUTE, {"topic": topic}, f"look for topic {topic}")
        found = _loaded(answer.body).get("queueDatas") or ()
        return {each["brokerName"]: max(each["readQueueNums"], each["writeQueueNums"]) for each in found}

    async def settings(self) -> dict[str, dict[str, str]]:
        """The configuration of every master."""
        masters = await self.masters()
        answers = await asyncio.gather(*(each.ask(_CONFIG, {}, "read its settings") for each in masters.values()))
        lines = [answer.body.decode("utf-8", "replace").splitlines() for answer in answers]
        return {
            name: dict(line.partition("=")[::2] for line in each if "=" in line)
            for name, each in zip(masters, lines, strict=True)
        }

    async def versions(self) -> dict[str, str]:
        """Of every master, as it says itself (V5_4_0); empty for one that does not."""
        masters = await self.masters()
        answers = await asyncio.gather(*(each.ask(_RUNTIME, {}, "read its version") for each in masters.values()))
        tables = [json.loads(answer.body).get("table") or {} for answer in answers]
        return {name: str(each.get("brokerVersionDesc", "")) for name, each in zip(masters, tables, strict=True)}

    async def topics(self) -> list[str]:
        """Those that are not RocketMQ's own."""
        every, system = await asyncio.gather(
            self._ask_name(_TOPICS, {}, "list topics"), self._ask_name(_SYSTEM_TOPICS, {}, "list topics")
        )
        own = set(json.loads(system.body).get("topicList") or ())
        found = json.loads(every.body).get("topicList") or ()
        return [name for name in found if name not in own and not _SYSTEM.match(name)]

    async def has_topic(self, topic: str, masters: Mapping[str, Remoting]) -> bool:
        """Whether a broker has the topic."""
        for master in masters.values():
            try:
                await master.ask(_TOPIC, {"topic": topic}, f"look for topic {topic}")
                return True
            except NoSuchTopic:
                continue
        return False

    async def make_topic(self, topic: str, kind: str, queues: int, masters: Mapping[str, Remoting]) -> None:
        """On every broker, with so many queues each."""
        fields = {
            "topic": topic,
            "defaultTopic": "TBW102",
            "readQueueNums": queues,
            "writeQueueNums": queues,
            "perm": 6,
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": 0,
            "order": "false",
            "attributes": f"+message.type={kind.upper()}",
        }
        await asyncio.gather(*(each.change(_MAKE_TOPIC, fields, f"make topic {topic}") for each in masters.values()))

    async def drop_topic(self, topic: str) -> None:
        """From brokers and name servers, with the offsets of its groups."""
        for server in (await self.masters()).values():
            await server.change(_DROP_IN_BROKER, {"topic": topic}, f"drop topic {topic}")
        for name in self._names:
            try:
                await name.change(_DROP_IN_NAME, {"topic": topic}, f"drop topic {topic}")
            except (Unavailable, Uncertain):
                pass  # it learns it from the brokers

    async def has_group(self, group: str, master: Remoting) -> bool:
        """Whether a broker knows the group."""
        try:
            await master.ask(_GROUP, {"group": group}, f"look for group {group}")
        except NoSuchTopic:
            return False
        return True

    async def make_group(self, group: str, *, ordered: bool, masters: Mapping[str, Remoting]) -> None:
        """On every broker that has no group of that name."""
        body = {
            "groupName": group,
            "consumeEnable": True,
            "consumeFromMinEnable": True,
            "consumeBroadcastEnable": True,
            "consumeMessageOrderly": ordered,
            "retryQueueNums": 1,
            "retryMaxTimes": _ATTEMPTS_MAX,
            "brokerId": 0,
            "whichBrokerWhenConsumeSlowly": 1,
            "notifyConsumerIdsChangedEnable": True,
        }
        for master in masters.values():
            if not await self.has_group(group, master):
                await master.change(_MAKE_GROUP, {}, f"make group {group}", json.dumps(body).encode())

    async def drop_group(self, group: str, masters: Mapping[str, Remoting]) -> None:
        """From every broker, with its offsets in all topics."""
        fields = {"groupName": group, "cleanOffset": "true"}
        await asyncio.gather(*(each.change(_DROP_GROUP, fields, f"drop group {group}") for each in masters.values()))

    async def groups_of(self, topic: str, masters: Mapping[str, Remoting]) -> list[str]:
        """Groups that have an offset in the topic."""
        asked = (each.ask(_GROUPS_OF, {"topic": topic}, f"list groups of {topic}") for each in masters.values())
        found = [json.loads(answer.body).get("groupList") or () for answer in await asyncio.gather(*asked)]
        return sorted({group for groups in found for group in groups if not group.startswith("%")})

    @staticmethod
    async def offset(server: Remoting, topic: str, group: str, queue: int) -> int | None:
        """Where a group stands in a queue; None if it has not begun."""
        fields = {"consumerGroup": group, "topic": topic, "queueId": queue, "setZeroIfNotFound": "false"}
        try:
            return int((await server.ask(_QUERY_OFFSET, fields, f"look at group {group}")).fields["offset"])
        except NoSuchTopic:
            return None

    @staticmethod
    async def set_offset(server: Remoting, topic: str, group: str, queue: int, offset: int) -> None:
        """Put a group there that has not begun."""
        fields = {"consumerGroup": group, "topic": topic, "queueId": queue, "commitOffset": offset}
        await server.change(_SET_OFFSET, fields, f"set group {group}")

    @staticmethod
    async def bound(server: Remoting, topic: str, queue: int, *, end: bool) -> int:
        """The offset that the next message of a queue gets, or the first that is kept; 0 where there is no queue."""
        try:
            fields = {"topic": topic, "queueId": queue}
            found = await server.ask(_MAX_OFFSET if end else _MIN_OFFSET, fields, f"look at {topic}")
        except NoSuchTopic:
            return 0
        return max(0, int(found.fields["offset"]))

    @staticmethod
    async def offset_at(server: Remoting, topic: str, queue: int, time_ms: int) -> int:
        """Of the first message that was stored then or later."""
        fields = {"topic": topic, "queueId": queue, "timestamp": time_ms, "boundaryType": "LOWER"}
        return int((await server.ask(_OFFSET_AT, fields, f"look at {topic}")).fields["offset"])

    @staticmethod
    async def reset(server: Remoting, topic: str, group: str, queue: int, offset: int) -> None:
        """Move a group that may have readers."""
        fields = {
            "topic": topic,
            "group": group,
            "queueId": queue,
            "offset": offset,
            "timestamp": -1,
            "isForce": "true",
        }
        await server.change(_RESET, fields, f"reset group {group}")

    @staticmethod
    async def delayed(server: Remoting, topic: str) -> int:
        """Messages of a topic that wait for their time."""
        found = json.loads((await server.ask(_TIMERS, {}, "look at the timers")).body)
        return int((found.get("timingCount") or {}).get(topic, {}).get("count", 0))

    @staticmethod
    async def stored_ms(server: Remoting, topic: str, queue: int, offset: int) -> int | None:
        """When the message at an offset was stored; None where there is none. As RocketMQ's own tools look: in the name
        of a group it would move that group, where brokers keep records of what they handed out."""
        fields = {
            "consumerGroup": _TOOLS,
            "topic": topic,
            "queueId": queue,
            "queueOffset": offset,
            "maxMsgNums": 1,
            "sysFlag": 4,  # the subscription stands in the request
            "commitOffset": 0,
            "suspendTimeoutMillis": 0,
            "subscription": "*",
            "subVersion": 0,
            "expressionType": "TAG",
        }
        try:
            answer = await server.ask(_PULL, fields, f"look at {topic}")
        except EvermqError:
            return None  # nothing there any more, or no right to read it
        return int(_STORED.unpack_from(answer.body)[0]) if len(answer.body) >= _STORED.size else None

    def _server(self, address: str) -> Remoting:
        host, _, port = address.rpartition(":")
        return self._servers.setdefault(address, Remoting(host, int(port), self._login, self._timeout_ms, self._tls))

    async def _ask_name(self, code: int, fields: Mapping[str, Any], doing: str) -> Any:
        """The first name server that answers."""
        for name in self._names[:-1]:
            try:
                return await name.ask(code, fields, doing)
            except Unavailable:
                continue
        return await self._names[-1].ask(code, fields, doing)

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in [*self._names, *self._servers.values()]))


def _loaded(body: bytes) -> Any:
    """JSON, but for maps that have numbers for keys."""
    return json.loads(re.sub(rb"([{,])(\d+):", rb'\1"\2":', body))
