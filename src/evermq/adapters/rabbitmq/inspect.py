"""What a RabbitMQ keeps of what it confirmed."""

from __future__ import annotations

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.adapters.rabbitmq.connect import login, message_bytes_max, version
from evermq.adapters.rabbitmq.link import Link
from evermq.adapters.rabbitmq.options import RabbitOptions
from evermq.adapters.rabbitmq.registry import Registry
from evermq.adapters.rabbitmq.topic import Control, queue_of
from evermq.errors import NoSuchTopic
from evermq.traits import Durable

__all__ = ["inspect"]

_REPLICAS = "AMQP does not tell: `rabbitmq-queues quorum_status NAME` does; have three nodes or more for replicated"


async def inspect(address: Address) -> Inspection:
    """Quorum queues flush what they confirm; whether they have replicas cannot be seen from here."""
    options = RabbitOptions.of(address.options)
    link = Link(login(address, options), "evermq looks")
    try:
        found = version(await link.connection(), link.where)
        findings = [
            Finding("version", ".".join(map(str, found)), "" if found >= (3, 13) else "it gets no fixes any more"),
            Finding("x-queue-type", "quorum"),
            Finding("publisher confirms", "yes, and mandatory"),
            Finding("quorum queue members", "unknown", _REPLICAS),
            Finding("max_message_size", str(options.message_bytes_max or message_bytes_max(found))),
        ]
        if address.topic:
            findings += await _topic(address, options, link)
    finally:
        await link.close()
    return Inspection(Durable.DISK, findings)


async def _topic(address: Address, options: RabbitOptions, link: Link) -> list[Finding]:
    """Whether every queue is there that the registry names."""
    control = Control(link)
    topic = (await Registry(options.registry, control, link, options.timeout_ms).topics()).get(address.topic)
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
