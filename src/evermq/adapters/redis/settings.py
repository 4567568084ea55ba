"""What the settings of a server keep of what it acknowledged, in the server's own words.

Sources: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/ and /replication/ (WAIT does not
make Redis strongly consistent, so no number of replicas lifts the class), and flushAppendOnlyFile of aof.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from evermq.adapters.inspection import Finding
from evermq.adapters.redis.server import Server
from evermq.errors import Denied, EvermqError, Misconfigured, Unsupported
from evermq.traits import Durable

__all__ = ["Settings"]

_WANTED = (
    "appendonly",
    "appendfsync",
    "maxmemory",
    "maxmemory-policy",
    "min-replicas-to-write",
    "min-replicas-max-lag",
    "no-appendfsync-on-rewrite",
)
_VERSION_MIN = (7, 0)


@dataclass(frozen=True, slots=True)
class Settings:
    """said: what CONFIG GET answered, empty where it is forbidden. info: of INFO."""

    where: str
    said: dict[str, str] = field(default_factory=dict)
    info: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def read(cls, server: Server) -> Settings:
        """Ask a server. Raises Misconfigured for one that is no Redis 7, or takes no writes."""
        info = _parsed(await server.tell("INFO", "server"))
        info |= _parsed(await server.tell("INFO", "replication"))
        info |= _parsed(await server.tell("INFO", "persistence"))
        said: dict[str, str] = {}
        try:
            found = await server.tell("CONFIG", "GET", *_WANTED)
            said = {found[i].decode(): found[i + 1].decode() for i in range(0, len(found), 2)}
        except (Denied, Unsupported):
            pass  # managed servers forbid it: then what they keep is not known
        except EvermqError as error:
            if "unknown" not in str(error).lower():
                raise
        return cls(server.where, said, info)

    @property
    def version(self) -> str:
        return self.info.get("redis_version", "unknown")

    @property
    def durable(self) -> Durable:
        """Which loss an acknowledged append survives."""
        if not self.said:
            return Durable.PROCESS if self.info.get("aof_enabled") == "1" else Durable.MEMORY
        if self.said.get("appendonly") != "yes":
            return Durable.MEMORY
        return Durable.DISK if self._always else Durable.PROCESS

    @property
    def _always(self) -> bool:
        rewrites = self.said.get("no-appendfsync-on-rewrite", "no")
        return self.said.get("appendfsync") == "always" and rewrites == "no"

    @property
    def replicas(self) -> list[tuple[str, int]]:
        """Host and port of those that follow it."""
        lines = [value for name, value in self.info.items() if re.fullmatch(r"slave\d+", name)]
        fields = [dict(each.partition("=")[::2] for each in line.split(",")) for line in lines]
        return [(each["ip"], int(each["port"])) for each in fields if "ip" in each and "port" in each]

    @property
    def evicts(self) -> bool:
        """Messages are thrown away when memory is short."""
        return self.said.get("maxmemory-policy", "noeviction") != "noeviction"

    @property
    def shown(self) -> dict[str, str]:
        """What `describe` shows."""
        return {"replicas": self.info.get("connected_slaves", "unknown")} | {
            name: self.said.get(name, "unknown") for name in _WANTED
        }

    def check(self) -> None:
        """Raises Misconfigured where it would lose messages in silence, Unsupported for a version that is too old."""
        digits = self.version.split(".")[:2]
        if all(each.isdigit() for each in digits) and tuple(map(int, digits)) < _VERSION_MIN:
            raise Unsupported(f"redis {self.where} is version {self.version}: 7.0 or later is needed")
        if self.evicts:
            policy = self.said["maxmemory-policy"]
            raise Misconfigured(
                f"redis {self.where}: maxmemory-policy = {policy} throws messages away when memory is short: "
                "CONFIG SET maxmemory-policy noeviction"
            )

    @property
    def weak(self) -> str:
        """What costs durability, in a sentence each."""
        return "; ".join(f"{each.setting} = {each.value}: {each.advice}" for each in self.weaknesses())

    def weaknesses(self) -> list[Finding]:
        """What costs durability."""
        return [each for each in self.findings(0) if each.setting in _WEAKENING and each.advice]

    def findings(self, replicas: int) -> list[Finding]:
        """Every setting that matters. replicas: how many an append waits for."""
        if not self.said:
            advice = (
                "the server forbids CONFIG GET, so nobody knows what it keeps: let this user run it, or ask who "
                "runs the server whether appendfsync is always and maxmemory-policy is noeviction"
            )
            return [Finding("CONFIG GET", "forbidden", advice)]
        return [
            self._finding("appendonly", {"yes": ""}, "a restart loses all since the last snapshot: set yes"),
            self._finding("appendfsync", _FSYNC, "set always"),
            self._finding("no-appendfsync-on-rewrite", {"no": ""}, "during a rewrite nothing is flushed: set no"),
            self._finding("maxmemory-policy", {"noeviction": ""}, "it throws messages away: set noeviction"),
            self._finding("maxmemory", {"0": "the kernel ends a server that takes too much memory: set a limit"}, ""),
            *self._replication(replicas),
        ]

    def _finding(self, setting: str, advices: dict[str, str], otherwise: str) -> Finding:
        value = self.said.get(setting, "unknown")
        return Finding(setting, value, advices.get(value, otherwise))

    def _replication(self, replicas: int) -> list[Finding]:
        connected = self.info.get("connected_slaves", "0")
        if connected == "0" and not replicas:
            return []
        needed = self.said.get("min-replicas-to-write", "0")
        alone = "a master that is cut off takes writes that are lost later: set 1 at least"
        early = "an append counts before a replica has it: say wait_replicas=1"
        return [
            Finding("connected_slaves", connected, "" if int(connected) >= replicas else f"{replicas} are waited for"),
            Finding("min-replicas-to-write", needed, alone if int(needed) < max(1, replicas) else ""),
            Finding("wait_replicas", str(replicas), "" if replicas else early),
        ]


_WEAKENING = ("CONFIG GET", "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy")
_FSYNC = {
    "always": "",
    "everysec": "a power cut loses the last second, two where the disk is slow, and there a kill does too: set always",
    "no": "a power cut loses what the kernel had not written, half a minute perhaps: set always",
}


def _parsed(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines() if line[:1] != "#")
    return {name: value for name, colon, value in lines if colon}
