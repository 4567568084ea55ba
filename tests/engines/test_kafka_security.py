"""Kafka that wants TLS, passwords and rights: who may come in does, others are told why, and no secret is said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from evermq.adapters.open import open_place, open_queue
from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.kafka import KafkaPlain, KafkaSecured
from evermq.errors import Denied, EvermqError, Misconfigured, NoSuchTopic, Rejected, Unavailable
from evermq.message import MessageFactory

pytestmark = pytest.mark.timeout(180)
message = MessageFactory()


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
    url = kafka_secured_server.url(topic).replace("127.0.0.1", "127.0.0.2")
    with pytest.raises((Denied, Unavailable)):
        await open_queue(url)


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
