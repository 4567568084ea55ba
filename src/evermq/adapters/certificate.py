"""Which certificates are accepted, and whether a connection failed because the server's is not."""

from __future__ import annotations

import ssl
from pathlib import Path

from evermq.adapters.options import Options
from evermq.errors import Misconfigured

__all__ = ["context", "distrust"]


def context(options: Options) -> ssl.SSLContext:
    """The certificate has to be signed by `ca` (else by what the system trusts), and to be of the host dialled. Raises
    Misconfigured."""
    for name in ("ca", "cert", "key"):
        path = getattr(options, name)
        if path and not Path(path).is_file():
            raise Misconfigured(f"{name} = {path}: there is no such file")
    try:
        made = ssl.create_default_context(cafile=options.ca or None)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if options.cert:
            made.load_cert_chain(options.cert, options.key or None)
    except ssl.SSLError as error:
        raise Misconfigured(f"ca, cert or key is no PEM file of its kind: {error}") from error
    return made


def distrust(error: BaseException) -> str:
    """Why the certificate is not accepted, wherever in the driver's errors; empty where that is not the cause."""
    cause: BaseException | None = error
    passed: set[int] = set()  # a driver that raises an error again may close the chain to a ring
    while cause is not None and id(cause) not in passed:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {getattr(cause, 'verify_message', cause)}"
        passed.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return ""
