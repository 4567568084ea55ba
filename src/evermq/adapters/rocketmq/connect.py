"""From the URL of a RocketMQ to its place."""

from __future__ import annotations

from pathlib import Path

import grpc

from evermq.adapters.address import Address
from evermq.adapters.certificate import context
from evermq.adapters.rocketmq.admin import Admin
from evermq.adapters.rocketmq.brokers import judge
from evermq.adapters.rocketmq.login import Login
from evermq.adapters.rocketmq.options import RocketOptions
from evermq.adapters.rocketmq.place import RocketPlace
from evermq.adapters.rocketmq.protocol import service
from evermq.adapters.rocketmq.proxy import Proxy
from evermq.adapters.secret import secret
from evermq.errors import Denied, Misconfigured, NoSuchTopic, Unavailable, Uncertain

__all__ = ["connect", "parts"]

_PORT, _NAME_PORT = 8081, 9876


async def connect(address: Address) -> RocketPlace:
    """Connect, and see what the brokers keep. Raises Misconfigured, Denied, Unavailable, Unsupported."""
    proxy, admin, options = parts(address)
    try:
        await greet(proxy)
        durable = await judge(admin, options.required, proxy.where)
    except BaseException:
        await proxy.close()
        await admin.close()
        raise
    return RocketPlace(proxy, admin, options, durable=durable)


def parts(address: Address) -> tuple[Proxy, Admin, RocketOptions]:
    """What talks to the servers; nothing is connected yet. Raises Misconfigured."""
    options = RocketOptions.of(address.options)
    hosts = [f"{host}:{port or _PORT}" for host, port in address.hosts]
    login = _login(options)
    proxy = Proxy(hosts, _credentials(address, options), login, options.timeout_ms)
    tls = context(options) if options.remoting_tls else None
    return proxy, Admin(_name_servers(address, options), login, options.timeout_ms, tls), options


async def greet(proxy: Proxy) -> None:
    """Raises Unavailable where no proxy answers, Denied where one does not let this client in."""
    for _ in range(proxy.count - 1):
        try:
            await _greet(proxy)
        except Unavailable:
            continue  # the next one is taken
        return
    await _greet(proxy)


async def _greet(proxy: Proxy) -> None:
    request = service.QueryRouteRequest()
    request.topic.name = "evermq-greeting"
    try:
        await proxy.ask("QueryRoute", request, "connect")
    except NoSuchTopic:
        pass
    except Denied as error:
        if "no permission" not in str(error):  # let in, and not allowed to see a topic of that name
            raise
    except Uncertain as error:
        raise Unavailable(str(error)) from None


def _login(options: RocketOptions) -> Login:
    name = options.username
    if not name:
        if options.password:
            raise Misconfigured("password without a username: give username=ACCESS-KEY as well")
        return Login()
    if not options.password:
        raise Misconfigured(f"username = {name} without a password: give password=env:VARIABLE")
    return Login(options.user, secret("password", options.password))


def _credentials(address: Address, options: RocketOptions) -> grpc.ChannelCredentials | None:
    """The certificate has to be signed by `ca` (else by what gRPC trusts), and to be of the host dialled."""
    if address.scheme != "rocketmqs":
        return None
    read = {}
    for name in ("ca", "cert", "key"):
        path = getattr(options, name)
        try:
            read[name] = Path(path).read_bytes() if path else None
        except OSError as error:
            raise Misconfigured(f"{name} = {path} cannot be read: {error.strerror}") from error
    return grpc.ssl_channel_credentials(read["ca"], read["key"], read["cert"])


def _name_servers(address: Address, options: RocketOptions) -> list[tuple[str, int]]:
    if not options.name_servers:
        return [(host, _NAME_PORT) for host, _ in address.hosts]
    return [(host, port or _NAME_PORT) for host, port in Address("rocketmq", options.name_servers, "").hosts]
