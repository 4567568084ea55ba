"""The scripts that run inside Redis, and requests in its protocol.

Requests are put together here and not by the driver: the names of a topic's keys never change, so they are encoded
once, and a request over 128 lanes costs a join.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files

__all__ = ["LOADED", "Argument", "Packed", "Script", "argument", "command", "pack"]

Argument = bytes | str | int
Packed = tuple[int, list[bytes]]  # how many arguments, and their bytes


def argument(value: Argument) -> list[bytes]:
    """One argument as RESP has it; a large value is not copied."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return [b"$%d\r\n" % len(data), data, b"\r\n"]


def pack(*values: Argument) -> Packed:
    """Arguments ready to be sent."""
    return len(values), [part for value in values for part in argument(value)]


def command(*values: Argument) -> list[bytes]:
    """A whole command."""
    parts = [b"*%d\r\n" % len(values)]
    for value in values:
        parts += argument(value)
    return parts


LOADED: dict[str, Script] = {}
"""Every script that was read."""


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
        made = cls(name, kinds, text, sha1(text, usedforsecurity=False).hexdigest().encode())
        LOADED[name] = made
        return made

    def request(self, keys: Sequence[bytes], packed: Iterable[Packed], *, whole: bool = False) -> list[bytes]:
        """keys: encoded. whole: with the text of the script, for a server that does not know it yet."""
        tail: list[bytes] = []
        count = 0
        for more, parts in packed:
            tail += parts
            count += more
        keys_count = sum(key.count(b"\r\n") for key in keys) // 2
        head = b"*%d\r\n" % (3 + keys_count + count)
        called = argument(b"EVAL") + argument(self.text) if whole else argument(b"EVALSHA") + argument(self.digest)
        return [head, *called, *argument(keys_count), *keys, *tail]
