"""What a RabbitMQ keeps of what it confirmed."""

from __future__ import annotations

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.adapters.rabbitmq.connect import login, message_bytes_max, version
from evermq.adapters.rabbitmq.link import Link
from evermq.adapters.rabbitmq.management import Management
from evermq.adapters.rabbitmq.options import RabbitOptions
from evermq.adapters.rabbitmq.registry import Registry
from evermq.adapters.rabbitmq.topic import Control, Topic, queue_of
from evermq.errors import Denied, NoSuchTopic, Unavailable
from evermq.traits import Durable

__all__ = ["inspect"]

_UNSEEN = "AMQP does not tell: give management=host:15672, with a user that has the tag `monitoring`"
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
            Finding("x-queue-type", "quorum"),
            Finding("publisher confirms", "yes, and mandatory"),
            Finding("max_message_size", str(options.message_bytes_max or message_bytes_max(found))),
        ]
        topic = await _find(address, options, link)
        durable, members = await _members(management, topic)
        findings.append(members)
        if address.topic:
            findings += await _topic(address, topic, Control(link))
    finally:
        await link.close()
    return Inspection(durable, findings)


async def _find(address: Address, options: RabbitOptions, link: Link) -> Topic | None:
    registry = Registry(options.registry, Control(link), link, options.timeout_ms)
    return (await registry.topics()).get(address.topic) if address.topic else None


async def _members(management: Management | None, topic: Topic | None) -> tuple[Durable, Finding]:
    """What queues keep, and how many replicas they have: of a topic that is not there, those that it would get."""
    if management is None:
        return Durable.DISK, Finding("quorum queue members", "unknown", _UNSEEN)
    try:
        queues = await management.queues(topic.name) if topic else {}
        durable = await (management.durable_of(topic.name) if queues and topic else management.durable())
    except (Denied, Unavailable) as error:
        return Durable.DISK, Finding("quorum queue members", "unknown", str(error))
    fewest = min((each.members for each in queues.values()), default=0)
    advice = "" if durable >= Durable.REPLICATED else _FEW
    return durable, Finding("quorum queue members", str(fewest) if queues else "as there are nodes", advice)


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
