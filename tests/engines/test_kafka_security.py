"""Kafka that wants TLS, passwords and rights: who may come in does, others are told why, and no secret is said."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from evermq.adapters.address import parse
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.open import open_place, open_queue
from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.kafka import KafkaPlain, KafkaSecured
from evermq.errors import Denied, EvermqError, Misconfigured, NoSuchTopic, Rejected, Unavailable
from evermq.message import MessageFactory

pytestmark = pytest.mark.timeout(180)
message = MessageFactory()
UNNAMED_HOST = "127.0.0.2"


async def _round(url: str) -> bytes:
    queue = await open_queue(url)
    try:
        await queue.append([message("x", key="k")])
        reader = await queue.reader("app-readers")
        found = await reader.read(count_max=10, wait_ms=10_000)
        await reader.ack(found)
        return found[0].message.body
    finally:
        await queue.close()


@asynccontextmanager
async def answering(other: str, host: str, port: int) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Whoever connects to the port at the other address is connected to the server."""
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        there, back = await asyncio.open_connection(host, port)
        writers.append(back)
        await asyncio.gather(carry(reader, back), carry(there, writer))

    server = await asyncio.start_server(connected, other, port)
    try:
        yield writers
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    writer.close()


async def _made(url: str, topic: str) -> None:
    place = await open_place(url)
    await place.create(topic)
    await place.close()


async def test_right_user_over_tls_sends_and_reads(kafka_secured_server: KafkaSecured, topic: str) -> None:
    await _made(kafka_secured_server.url(user="admin"), f"app-{topic}")
    assert await _round(kafka_secured_server.url(f"app-{topic}")) == b"x"


async def test_plain_password_is_taken_and_not_logged(
    kafka_plain_server: KafkaPlain, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await _made(kafka_plain_server.url(), topic)
        assert await _round(kafka_plain_server.url(topic)) == b"x"
    assert "SaslAuthenticateRequest" in caplog.text
    assert not [each for each in kafka_plain_server.secrets.users.values() if each in caplog.text]


async def test_wrong_password_is_denied_and_not_said(
    kafka_secured_server: KafkaSecured, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("not-the-password-of-app")
    wrong.chmod(0o600)
    right = kafka_secured_server.secrets.password_file("app")
    url = kafka_secured_server.url(f"app-{topic}").replace(str(right), str(wrong))
    with caplog.at_level(logging.DEBUG), pytest.raises(Denied) as raised:
        await open_queue(url)
    assert "not-the-password" not in str(raised.value) + repr(raised.value) + caplog.text


async def test_other_authority_is_not_trusted(kafka_secured_server: KafkaSecured, topic: str, tmp_path: Path) -> None:
    other = Secrets.make(tmp_path / "other", ["app"])
    url = kafka_secured_server.url(topic).replace(str(kafka_secured_server.secrets.ca), str(other.ca))
    with pytest.raises((Denied, Unavailable), match=r"(?i)certificate|ssl"):
        await open_queue(url)


async def test_host_that_the_certificate_does_not_name_is_not_trusted(
    kafka_secured_server: KafkaSecured, topic: str
) -> None:
    """The server is reached at that address: it is either driver that refuses, for the sake of the name alone."""
    [(host, port)] = parse(kafka_secured_server.url(topic)).hosts
    assert port
    async with answering(UNNAMED_HOST, host, port) as connected:
        url = kafka_secured_server.url(topic).replace(host, UNNAMED_HOST)
        with pytest.raises(Denied, match="certificate verify failed"):
            await open_queue(url)
        assert connected
        trust = Settings.of(parse(url)).aiokafka["ssl_context"]
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            await asyncio.open_connection(UNNAMED_HOST, port, ssl=trust)
        await (await open_place(kafka_secured_server.url())).close()


async def test_missing_right_is_denied(kafka_secured_server: KafkaSecured, topic: str) -> None:
    await _made(kafka_secured_server.url(user="admin"), f"other-{topic}")
    with pytest.raises((Denied, NoSuchTopic)):
        await open_queue(kafka_secured_server.url(f"other-{topic}"))
    place = await open_place(kafka_secured_server.url())
    with pytest.raises(Denied):
        await place.create(f"other-{topic}-2")
    await place.close()


async def test_group_without_right_is_denied(kafka_secured_server: KafkaSecured, topic: str) -> None:
    await _made(kafka_secured_server.url(user="admin"), f"app-{topic}")
    queue = await open_queue(kafka_secured_server.url(f"app-{topic}"))
    with pytest.raises(Rejected):
        await queue.reader("strangers")
    await queue.close()


async def test_password_itself_in_the_url_is_refused(kafka_secured_server: KafkaSecured, topic: str) -> None:
    with pytest.raises(Misconfigured, match="env:NAME") as raised:
        await open_queue(f"kafka://{kafka_secured_server.bootstrap()}/{topic}?username=app&password=hunter2")
    assert "hunter2" not in str(raised.value)
    assert issubclass(Misconfigured, EvermqError)
