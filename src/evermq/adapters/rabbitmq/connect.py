"""From the URL of a RabbitMQ to its place."""

from __future__ import annotations

import re
from typing import Any

from evermq.adapters.address import Address
from evermq.adapters.certificate import context
from evermq.adapters.rabbitmq.link import Link, Login
from evermq.adapters.rabbitmq.management import Management
from evermq.adapters.rabbitmq.options import RabbitOptions
from evermq.adapters.rabbitmq.place import RabbitPlace
from evermq.adapters.secret import secret
from evermq.errors import Misconfigured, Unsupported
from evermq.traits import Durable

__all__ = ["connect", "login", "message_bytes_max", "version"]

_PORT, _TLS_PORT = 5672, 5671
_VERSION_MIN = (3, 8)  # the first with quorum queues


async def connect(address: Address) -> RabbitPlace:
    """Connect, and see that the server has what is needed. Raises Misconfigured, Denied, Unavailable, Unsupported."""
    options = RabbitOptions.of(address.options)
    way = login(address, options)
    sending, receiving = Link(way, "evermq sends"), Link(way, "evermq reads")
    try:
        found = version(await receiving.connection(), receiving.where)
        management = Management.of(options.management, way)
        if management is None and options.required > Durable.DISK:
            raise Misconfigured(
                f"rabbitmq {receiving.where}: a quorum queue keeps disk, and whether {options.require} cannot be seen: "
                "give management=host:15672"
            )
    except BaseException:
        await receiving.close()
        raise
    bytes_max = options.message_bytes_max or message_bytes_max(found)
    return RabbitPlace(sending, receiving, options, message_bytes_max=bytes_max, management=management)


def login(address: Address, options: RabbitOptions) -> Login:
    """How a URL says to get in; nothing is connected yet. Raises Misconfigured."""
    tls = address.scheme == "rabbitmqs"
    vhost = address.place.partition("/")[2] or "/"
    username = options.user
    if options.password:
        password = secret("password", options.password)
    elif username == "guest":
        password = "guest"
    else:
        raise Misconfigured(f"{address}: username = {username} without a password: give password=env:VARIABLE")
    return Login(
        hosts=[(host, port or (_TLS_PORT if tls else _PORT)) for host, port in address.hosts],
        vhost=vhost,
        username=username,
        password=password,
        tls=context(options) if tls else None,
        heartbeat_s=options.heartbeat_s,
        timeout_ms=options.timeout_ms,
    )


def version(connection: Any, where: str) -> tuple[int, ...]:
    """Of the server. Raises Unsupported for one that is too old, or is no RabbitMQ."""
    properties = connection.server_properties or {}
    product, text = str(properties.get("product", "")), str(properties.get("version", ""))
    found = tuple(int(each) for each in re.findall(r"\d+", text)[:3])
    if product != "RabbitMQ" or found < _VERSION_MIN:
        raise Unsupported(f"{where} is {product or 'something'} {text}: RabbitMQ 3.8 or later is needed")
    return found


def message_bytes_max(version: tuple[int, ...]) -> int:
    """max_message_size where nobody set it: 128 MiB before RabbitMQ 4, 16 MiB since."""
    return 128 << 20 if version < (4,) else 16 << 20
