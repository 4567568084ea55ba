"""What each error of the driver and of the server means for the caller: one table, and unlisted is Uncertain.

Error codes are the first words that Redis answers with (https://redis.io/docs/latest/develop/reference/protocol-spec/
and `createSharedObjects` in server.c of Redis 7.0). Scripts check before they write, and Redis refuses the first
write of a script or none, so what is listed as Unavailable was certainly not appended.
"""

from __future__ import annotations

from redis import exceptions as driver

from evermq.adapters.certificate import distrust
from evermq.errors import Damaged, Denied, EvermqError, Overloaded, Unavailable, Uncertain, Unsupported

__all__ = ["CODES", "DRIVER", "failure", "refused"]

# What the server answers a request with.
CODES: dict[str, type[EvermqError]] = {
    "OOM": Overloaded,
    "BUSY": Unavailable,
    "LOADING": Unavailable,
    "MASTERDOWN": Unavailable,
    "MISCONF": Unavailable,
    "READONLY": Unavailable,
    "NOREPLICAS": Unavailable,
    "CLUSTERDOWN": Unavailable,
    "MOVED": Unavailable,
    "ASK": Unavailable,
    "TRYAGAIN": Unavailable,
    "NOSCRIPT": Unavailable,
    "NOMASTERLINK": Unavailable,
    "INPROG": Unavailable,
    "NOGOODSLAVE": Unavailable,
    "NOAUTH": Denied,
    "WRONGPASS": Denied,
    "NOPERM": Denied,
    "DENIED": Denied,
    "CROSSSLOT": Unsupported,
    "NOPROTO": Unsupported,
    "WRONGTYPE": Damaged,
    "EXECABORT": Unavailable,
    "UNKILLABLE": Uncertain,
    "UNBLOCKED": Uncertain,
    "IOERR": Uncertain,
    "ERR": Uncertain,
}
# What is said behind ERR where that tells more.
_SENTENCES: dict[str, type[EvermqError]] = {
    "max number of clients reached": Unavailable,
    "acl failure in script": Denied,
    "user executing the script can't": Denied,
    "has no permissions": Denied,
    "unknown command": Unsupported,
    "unknown script flag": Unsupported,
    "invalid password": Denied,
    "called without any password configured": Denied,
    "cluster support disabled": Unsupported,
    "unexpected flag in script shebang": Unsupported,
}
# What the driver raises by itself, once a request is on its way.
DRIVER: dict[type[BaseException], type[EvermqError]] = {
    driver.ConnectionError: Uncertain,
    driver.TimeoutError: Uncertain,
    driver.InvalidResponse: Uncertain,
    driver.ResponseError: Uncertain,
    driver.RedisError: Uncertain,
    driver.ClusterError: Uncertain,
    driver.PubSubError: Uncertain,
    driver.WatchError: Uncertain,
    driver.LockError: Uncertain,
    driver.LockNotOwnedError: Uncertain,
    driver.RedisClusterException: Uncertain,
    driver.InvalidPipelineStack: Uncertain,
    driver.CrossSlotTransactionError: Unsupported,
    driver.SlotNotCoveredError: Unavailable,
    driver.MaxConnectionsError: Unavailable,
    driver.DataError: Unsupported,
    driver.AuthenticationError: Denied,
    driver.AuthorizationError: Denied,
    driver.AuthenticationWrongNumberOfArgsError: Denied,
    driver.ExternalAuthProviderError: Denied,
    driver.NoPermissionError: Denied,
    driver.BusyLoadingError: Unavailable,
    driver.NoScriptError: Unavailable,
    driver.OutOfMemoryError: Overloaded,
    driver.ExecAbortError: Unavailable,
    driver.ReadOnlyError: Unavailable,
    driver.ModuleError: Uncertain,
    driver.ClusterDownError: Unavailable,
    driver.MasterDownError: Unavailable,
    driver.AskError: Unavailable,
    driver.MovedError: Unavailable,
    driver.TryAgainError: Unavailable,
    driver.ClusterCrossSlotError: Unsupported,
}


def failure(error: BaseException, where: str) -> EvermqError:
    """What went wrong with a request that was sent. where: the server, for the message."""
    text = str(error)
    code = getattr(error, "status_code", None) or text.partition(" ")[0]
    kind = _kind(error, code, text)
    what = f"{code} {text}" if code in CODES and not text.startswith(code) else text or type(error).__name__
    outcome = "it is not known whether the request was carried out: " if kind is Uncertain else ""
    return kind(f"redis {where}: {outcome}{what}")


def _kind(error: BaseException, code: str, text: str) -> type[EvermqError]:
    lowered = text.lower()
    for sentence, kind in _SENTENCES.items():
        if sentence in lowered:
            return kind
    if code in CODES:
        return CODES[code]
    for ancestor in type(error).__mro__:
        if ancestor in DRIVER:
            return DRIVER[ancestor]
    return Uncertain


def refused(error: BaseException, where: str) -> EvermqError:
    """What went wrong before a request was sent: a connection that could not be made."""
    said = failure(error, where)
    if isinstance(said, Denied):
        return said
    if reason := distrust(error):
        return Denied(f"redis {where}: {reason}")
    return Unavailable(f"redis {where} cannot be reached: {error or type(error).__name__}")
