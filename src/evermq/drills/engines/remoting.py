"""Just enough of RocketMQ's remoting protocol to ask in milliseconds what its own tool takes a JVM for.

A frame is its length, the length of its header, the header as JSON, and a body (RemotingCommand in RocketMQ's source).
"""

from __future__ import annotations

import json
import socket
import struct
from typing import NamedTuple

from evermq.drills.engines.ports import HOST
from evermq.errors import Unavailable

__all__ = ["CLUSTER", "TOPIC", "Answer", "ask"]

TOPIC = 17  # RequestCode.UPDATE_AND_CREATE_TOPIC, asked of a broker
CLUSTER = 106  # RequestCode.GET_BROKER_CLUSTER_INFO, asked of a name server


class Answer(NamedTuple):
    """code: 0 is success. body: often not quite JSON, since its maps have numbers for keys."""

    code: int
    remark: str
    body: bytes


def ask(port: int, code: int, fields: dict[str, str] | None = None, *, wait_s: float = 3.0) -> Answer:
    """Ask a server on a loopback port. Raises Unavailable where it does not answer."""
    header = {"code": code, "flag": 0, "language": "OTHER", "opaque": 1, "version": 0, "extFields": fields or {}}
    encoded = json.dumps(header | {"serializeTypeCurrentRPC": "JSON"}).encode()
    try:
        with socket.create_connection((HOST, port), timeout=wait_s) as connection:
            connection.sendall(struct.pack(">II", len(encoded) + 4, len(encoded)) + encoded)
            with connection.makefile("rb") as stream:
                size, header_size = struct.unpack(">II", stream.read(8))
                rest = stream.read(size - 4)
    except (OSError, struct.error) as error:
        raise Unavailable(f"port {port} does not answer request {code}: {error}") from error
    header_size &= 0xFFFFFF  # the first byte says how the header is written
    said = json.loads(rest[:header_size])
    return Answer(int(said["code"]), str(said.get("remark") or ""), rest[header_size:])
