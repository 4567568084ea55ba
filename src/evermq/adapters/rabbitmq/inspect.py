"""What a RabbitMQ keeps of what it confirmed."""

from __future__ import annotations

from collections.abc import Mapping

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.adapters.rabbitmq.connect import login, message_bytes_max, version
from evermq.adapters.rabbitmq.link import Link
from evermq.adapters.rabbitmq.management import Management
from evermq.adapters.rabbitmq.options import RabbitOptions
from evermq.adapters.rabbitmq.registry import Registry
from evermq.adapters.rabbitmq.seen import MEMBERS_MIN, Seen
from evermq.adapters.rabbitmq.topic import Control, Topic, queue_of
from evermq.errors import Denied, NoSuchTopic, Unavailable
from evermq.traits import Durable

__all__ = ["inspect"]

_UNSEEN = "AMQP does not tell: give management=host:15672, with a user that has the tag `monitoring`"
_LIMITS = "policies and arguments"
_FEW = "three or more make it replicated: have three nodes, and `rabbitmq-queues grow NODE all`"


async def inspect(address: Address) -> Inspection:
    """Quorum queues flush what they confirm; whether they have replicas is asked of the management plugin."""
    options = RabbitOptions.of(address.options)
    way = login(address, options)
    management = Management.of(options.management, way)
    link = Link(way, "evermq looks")
    try:
        found = version(await link.connection(), link.where)
        findings = [
            Finding("version", ".".join(map(str, found)), "" if found >= (3, 13) else "it gets no fixes any more"),
            Finding("publisher confirms", "yes, and mandatory"),
            Finding("max_message_size", str(options.message_bytes_max or message_bytes_max(found))),
        ]
        topic = await _find(address, options, link)
        durable, seen = await _seen(management, topic)
        findings += seen
        if address.topic:
            findings += await _topic(address, topic, Control(link))
    finally:
        await link.close()
    return Inspection(durable, findings)


async def _find(address: Address, options: RabbitOptions, link: Link) -> Topic | None:
    registry = Registry(options.registry, Control(link), link, options.timeout_ms)
    return (await registry.topics()).get(address.topic) if address.topic else None


async def _seen(management: Management | None, topic: Topic | None) -> tuple[Durable, list[Finding]]:
    """What queues keep, and why: of a topic that is not there, those that it would get."""
    try:
        if management is None:
            return Durable.DISK, _unseen(_UNSEEN)
        queues = await management.queues(topic.name) if topic else {}
        if not queues:
            durable = await management.durable()
            return durable, [*_as_made(), Finding("quorum queue members", "as there are nodes", _more(durable))]
    except (Denied, Unavailable) as error:
        return Durable.DISK, _unseen(str(error))
    return min(each.durable for each in queues.values()), _found(queues)


def _found(queues: Mapping[str, Seen]) -> list[Finding]:
    kinds = sorted({each.kind for each in queues.values()})
    drops = sorted({f"{name} = {value}" for each in queues.values() for name, value in each.drops})
    advice = "take it out of policies and arguments: by it a queue deletes what it confirmed"
    fewest = min(each.members for each in queues.values())
    return [
        Finding("x-queue-type", ", ".join(kinds), "" if kinds == ["quorum"] else "quorum: others do not flush"),
        Finding("quorum queue members", str(fewest), "" if fewest >= MEMBERS_MIN else _FEW),
        Finding(_LIMITS, ", ".join(drops) or "none that deletes", advice if drops else ""),
    ]


def _as_made() -> list[Finding]:
    advice = "of queues that are not there they are not looked at: look again when the topic is made"
    return [Finding("x-queue-type", "quorum, as evermq makes them"), Finding(_LIMITS, "unknown", advice)]


def _unseen(why: str) -> list[Finding]:
    """What was not looked at, and why."""
    return [Finding(name, "unknown", why) for name in ("x-queue-type", "quorum queue members", _LIMITS)]


def _more(durable: Durable) -> str:
    return "" if durable >= Durable.REPLICATED else _FEW


async def _topic(address: Address, topic: Topic | None, control: Control) -> list[Finding]:
    """Whether every queue is there that the registry names."""
    if topic is None:
        return [Finding("topic", "missing", f"`evermq topics create {address} --groups a,b` makes it")]
    if not topic.groups:
        return [Finding("groups", "none", "nothing is taken without one: `evermq topics create URL --groups a,b`")]
    findings = [Finding("groups", ", ".join(topic.groups))]
    for group in topic.groups:
        for lane in range(topic.lanes):
            queue = queue_of(topic.name, group, lane)
            try:
                await control.state(queue)
            except NoSuchTopic:
                advice = f"it loses what is appended now: `evermq topics create {address} --groups {group}` mends it"
                findings.append(Finding(f"queue {queue}", "missing", advice))
    return findings
