"""Whether a connection failed because the server's certificate is not accepted, wherever in the driver's errors."""

from __future__ import annotations

import ssl

__all__ = ["distrust"]


def distrust(error: BaseException) -> str:
    """Why the certificate is not accepted; empty where that is not the cause."""
    cause: BaseException | None = error
    passed: set[int] = set()  # a driver that raises an error again may close the chain to a ring
    while cause is not None and id(cause) not in passed:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {getattr(cause, 'verify_message', cause)}"
        passed.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return ""
