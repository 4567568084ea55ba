"""The scripts that run inside Redis, and requests in its protocol.

Requests are put together here and not by the driver: the names of a topic's keys never change, so they are encoded
once, and a request over 128 lanes costs a join.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files

__all__ = ["Argument", "Script", "argument", "command"]

Argument = bytes | str | int


def argument(value: Argument) -> list[bytes]:
    """One argument as RESP has it; a large value is not copied."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return [b"$%d\r\n" % len(data), data, b"\r\n"]


def command(*values: Argument) -> list[bytes]:
    """A whole command."""
    parts = [b"*%d\r\n" % len(values)]
    for value in values:
        parts += argument(value)
    return parts


@dataclass(frozen=True, slots=True)
class Script:
    """name: of the file under lua/. kinds: which keys of a lane it is given, of s(tate), l(ist) and d(elayed); k is one
    key that is no lane's."""

    name: str
    kinds: str
    text: bytes
    digest: bytes

    @classmethod
    def load(cls, name: str, kinds: str) -> Script:
        """Read it from the package."""
        text = files("evermq.adapters.redis").joinpath("lua", f"{name}.lua").read_bytes()
        return cls(name, kinds, text, sha1(text, usedforsecurity=False).hexdigest().encode())

    def request(self, keys: Sequence[bytes], values: Iterable[Argument], *, whole: bool = False) -> list[bytes]:
        """keys: encoded. whole: with the text of the script, for a server that does not know it yet."""
        tail: list[bytes] = []
        count = 0
        for value in values:
            tail += argument(value)
            count += 1
        keys_count = sum(key.count(b"\r\n") for key in keys) // 2
        parts = [b"*%d\r\n" % (3 + keys_count + count)]
        parts += argument(b"EVAL" if whole else b"EVALSHA")
        parts += argument(self.text if whole else self.digest)
        parts += argument(keys_count)
        parts += keys
        return parts + tail
