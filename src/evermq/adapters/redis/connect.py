"""From the URL of a Redis to its place."""

from __future__ import annotations

import logging
import ssl
from functools import partial
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from evermq.adapters.address import Address
from evermq.adapters.certificate import context
from evermq.adapters.redis.options import RedisOptions
from evermq.adapters.redis.place import RedisPlace
from evermq.adapters.redis.promise import Promise
from evermq.adapters.redis.script import LOADED, command
from evermq.adapters.redis.server import Server
from evermq.adapters.redis.settings import Settings
from evermq.adapters.redis.topology import Cluster, Open, Sentinels, Single, Topology
from evermq.adapters.redis.wire import Wire
from evermq.adapters.secret import secret
from evermq.errors import Misconfigured, Unavailable
from evermq.traits import Durable

__all__ = ["connect", "opener", "topology"]

_PORT, _SENTINEL_PORT = 6379, 26379
_READ_BYTES = 256 << 10  # answers of readers are that large; by the driver's 64 KiB they cost a third more
_log = logging.getLogger("evermq.redis")


async def connect(address: Address) -> RedisPlace:
    """Connect and look at the settings. Raises Misconfigured, Denied, Unavailable or Unsupported."""
    options = RedisOptions.of(address.options)
    servers = topology(address, options)
    try:
        promise = await _inspect(servers, options)
    except BaseException:
        await servers.close()
        raise
    wire = Wire(servers, promise, replicas=options.wait_replicas, replicas_ms=options.wait_ms)
    return RedisPlace(wire, options)


def opener(address: Address, options: RedisOptions) -> Open:
    """What makes connections to servers as a URL says."""
    return partial(_open, address.scheme == "rediss", options, False)


def topology(address: Address, options: RedisOptions) -> Topology:
    """The servers that a URL means; nothing is connected yet."""
    if "/" in address.place:
        raise Misconfigured(f"{address}: a redis has no path before the topic: give ?db=N for another database")
    open_ = opener(address, options)
    hosts = [(host, port or (_SENTINEL_PORT if options.sentinel else _PORT)) for host, port in address.hosts]
    if options.cluster:
        return Cluster(hosts, open_)
    if options.sentinel:
        to_sentinel = partial(_open, address.scheme == "rediss", options, True)
        return Sentinels(hosts, options.sentinel, open_, to_sentinel)
    if len(hosts) > 1:
        raise Misconfigured(f"{address}: several hosts are a cluster (?cluster=yes) or Sentinels (?sentinel=MASTER)")
    return Single(hosts[0], open_)


def _open(tls: bool, options: RedisOptions, is_sentinel: bool, address: tuple[str, int]) -> Server:
    host, port = address
    reference = options.sentinel_password if is_sentinel else options.password
    name = "sentinel_password" if is_sentinel else "password"
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "db": 0 if is_sentinel else options.db,
        "username": options.user if options.username and not is_sentinel else None,
        "password": secret(name, reference) if reference else None,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": options.timeout_ms / 1000,
        "socket_keepalive": True,
        "socket_read_size": _READ_BYTES,
        "protocol": 2,
    }
    if tls:
        given |= _tls(options)
    kind = SSLConnection if tls else Connection
    greeting = [] if is_sentinel else [command("SCRIPT", "LOAD", script.text) for script in LOADED.values()]
    return Server(f"{host}:{port}", lambda: kind(**given), timeout_ms=options.timeout_ms, greeting=greeting)


def _tls(options: RedisOptions) -> dict[str, Any]:
    """The certificate has to be signed by `ca` (else by what the system trusts), and to be of the host dialled. Raises
    Misconfigured for files that are none, which the driver would tell as a server that is away."""
    context(options)
    return {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        "ssl_ca_certs": options.ca or None,
        "ssl_certfile": options.cert or None,
        "ssl_keyfile": options.key or None,
    }


async def _inspect(servers: Topology, options: RedisOptions) -> Promise:
    """The weakest class of all servers that take writes; warns of what is weak, refuses what is too weak."""
    durable, found = Durable.CENTRE, await servers.servers()
    for server in found:
        settings = await Settings.read(server)
        settings.check()
        if settings.info.get("role") == "slave":
            raise Unavailable(f"redis {server.where} is a replica and takes no writes: dial its master, or Sentinels")
        durable = min(durable, settings.durable)
        weak = settings.weak
        if settings.durable < options.required:
            raise Misconfigured(
                f"redis {server.where} keeps {settings.durable.name.lower()}, less than require = {options.require}"
                + (f": {weak}" if weak else ": no redis claims it")
            )
        if settings.durable < Durable.DISK:
            _log.warning("redis %s keeps %s only: %s", server.where, settings.durable.name.lower(), weak)
    return Promise(durable, found, required=options.required if options.require else None)
