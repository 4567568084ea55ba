"""What a Kafka cluster makes of evermq's promises, in its own words."""

from __future__ import annotations

from collections.abc import Mapping

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.adapters.kafka.admin import Admin
from evermq.adapters.kafka.making import check
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.topic import Topic, deletions, durable_of, weaknesses
from evermq.errors import NoSuchTopic

__all__ = ["inspect"]


async def inspect(address: Address) -> Inspection:
    """Of the topic where it exists, else of one that would be made now. Raises as `connect` does."""
    settings = Settings.of(address)
    check(settings)
    admin = Admin(settings)
    try:
        return await _inspect(address, settings, admin)
    finally:
        await admin.close()


async def _inspect(address: Address, settings: Settings, admin: Admin) -> Inspection:
    brokers = await admin.ping()
    findings = [Finding("acks", "all")]
    topic = await _find(address.topic, admin)
    if topic is None:
        topic = await _to_be(address.topic, settings, admin)
        if address.topic:
            findings.append(Finding("topic", "missing", f"`evermq topics create {address}` makes it"))
    weak = {setting: advice for setting, _, advice in weaknesses(topic.replicas, topic.config)}
    if brokers < 3:
        advice = "three brokers or more, on machines of their own: fewer cannot keep three replicas"
        findings.append(Finding("brokers", str(brokers), advice))
    findings += [
        Finding("replication.factor", str(topic.replicas), weak.get("replication.factor", "")),
        *(
            Finding(name, topic.config.get(name, "unknown"), weak.get(name, ""))
            for name in ("min.insync.replicas", "unclean.leader.election.enable", "cleanup.policy")
        ),
        *(Finding(*each) for each in deletions(topic.config)),
        Finding("max.message.bytes", str(topic.batch_bytes)),
        Finding("message.timestamp.type", topic.config.get("message.timestamp.type", "unknown")),
    ]
    if not topic.config:
        findings.append(Finding("DescribeConfigs", "denied", "allow it: what cannot be seen is taken for its worst"))
    return Inspection(durable_of(topic.replicas, topic.config), findings)


async def _find(name: str, admin: Admin) -> Topic | None:
    """None where no topic is named, too."""
    try:
        return await admin.topic(name) if name else None
    except NoSuchTopic:
        return None


async def _to_be(name: str, settings: Settings, admin: Admin) -> Topic:
    """The topic that would be made now."""
    defaults = await admin.defaults()
    replicas = settings.replicas or int(defaults.get("default.replication.factor", "1"))
    config = {**defaults, "retention.ms": _kept_ms(defaults), **settings.retention}
    return Topic(name, "", 1, replicas, config)


def _kept_ms(defaults: Mapping[str, str]) -> str:
    """Brokers may have it in larger units, of which the smallest counts."""
    for name, unit_ms in (("retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)):
        if (value := defaults.get(name)) is not None:
            return str(max(int(value) * unit_ms, -1))
    return "unknown"
