"""No log of the driver has a password."""

from __future__ import annotations

import logging

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest_v1
from aiokafka.protocol.metadata import MetadataRequest_v0

from evermq.adapters.kafka.unsaid import keep_secrets_unsaid


def test_driver_logs_requests_but_not_the_password(caplog: pytest.LogCaptureFixture) -> None:
    keep_secrets_unsaid()
    keep_secrets_unsaid()
    with caplog.at_level(logging.DEBUG, "aiokafka"):
        for request in (SaslAuthenticateRequest_v1(b"\0app\0canary"), MetadataRequest_v0(["orders"])):
            logging.getLogger("aiokafka.conn").debug("Request to %s:%d %d: %s", "h", 9092, 1, request)
    assert "canary" not in caplog.text
    assert "SaslAuthenticateRequest_v1(…)" in caplog.text
    assert "orders" in caplog.text
