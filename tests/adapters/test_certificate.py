"""The cause of a failed connection is looked for in whatever chain of errors a driver raises."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from evermq.adapters.certificate import distrust
from evermq.adapters.rabbitmq import errors
from evermq.adapters.redis import failure
from evermq.errors import Denied, EvermqError, Unavailable

Refused = Callable[[BaseException, str], EvermqError]
EVERY = pytest.mark.parametrize("refused", [errors.refused, failure.refused], ids=["rabbitmq", "redis"])


def _ring() -> BaseException:
    """An error that is the cause of its own cause, as a driver makes it that raises a stored one anew: one that was
    cut off while it opened a connection kept the event loop busy for ever."""
    first, second = TimeoutError(), ConnectionError("cut off")
    first.__context__, second.__context__ = second, first
    return first


@EVERY
def test_ring_of_causes_comes_to_an_end(refused: Refused) -> None:
    assert distrust(_ring()) == ""
    assert isinstance(refused(_ring(), "here:1"), Unavailable)


@EVERY
def test_certificate_is_named_wherever_it_stands(refused: Refused) -> None:
    deep = ConnectionError("no connection")
    deep.__cause__ = OSError("below")
    deep.__cause__.__context__ = ssl.SSLCertVerificationError(1, "certificate verify failed")
    found = refused(deep, "here:1")
    assert isinstance(found, Denied)
    assert "certificate is not accepted" in str(found)
