"""Keeps what a client proves itself with out of the driver's log: at DEBUG, aiokafka logs every request as it is."""

from __future__ import annotations

import logging
from typing import Any

from aiokafka.protocol.admin import SaslAuthenticateRequest

__all__ = ["keep_secrets_unsaid"]


class _Unsaid(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_said, record.args))
        return True


def keep_secrets_unsaid() -> None:
    """From now on; again is harmless."""
    logging.getLogger("aiokafka.conn").addFilter(_UNSAID)


def _said(argument: Any) -> Any:
    """As it is, unless it is a request or an answer by which a client proves who it is: with PLAIN, the password."""
    is_proof = getattr(argument, "API_KEY", None) == SaslAuthenticateRequest.API_KEY
    return f"{type(argument).__name__}(…)" if is_proof else argument


_UNSAID = _Unsaid()
