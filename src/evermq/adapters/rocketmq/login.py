"""How requests are signed: to the proxy by their time, to brokers and name servers by their content."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

__all__ = ["Login"]


class Login(NamedTuple):
    """access_key: empty where the server asks for none."""

    access_key: str = ""
    secret_key: str = ""

    def metadata(self, client_id: str) -> list[tuple[str, str]]:
        """What stands before a request to the proxy."""
        found = [
            ("x-mq-client-id", client_id),
            ("x-mq-language", "PYTHON"),
            ("x-mq-protocol", "GRPC_V2"),
            ("x-mq-client-version", "5.1.2"),
        ]
        if self.access_key:
            now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            signature = hmac.new(self.secret_key.encode(), now.encode(), hashlib.sha1).hexdigest()
            signed = f"Credential={self.access_key}, SignedHeaders=x-mq-date-time, Signature={signature}"
            found += [("x-mq-date-time", now), ("authorization", f"MQv2-HMAC-SHA1 {signed}")]
        return found

    def signed(self, fields: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The fields of a request to a broker, with a signature over all of them in the order of their names."""
        if not self.access_key:
            return dict(fields)
        found = {**fields, "AccessKey": self.access_key}
        content = "".join(found[name] for name in sorted(found)).encode() + body
        digest = hmac.new(self.secret_key.encode(), content, hashlib.sha1).digest()
        return {**found, "Signature": b64encode(digest).decode()}

    def __repr__(self) -> str:
        return f"Login({self.access_key!r})"
