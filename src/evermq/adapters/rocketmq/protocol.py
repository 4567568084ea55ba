"""The messages and calls of RocketMQ's proxy, as its official client was generated from their definition.

Importing the client itself opens a log file in the home directory and takes half a second, so its generated modules
are loaded without the packages around them. The definition: https://github.com/apache/rocketmq-apis (protocol v2).
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["CODE_NAMES", "ENCODING_NAMES", "FIFO", "NORMAL", "DELAY", "TRANSACTION", "calls", "definition", "service"]
__all__ += ["COMMIT", "PRODUCER", "ROLLBACK", "SIMPLE_CONSUMER", "SOURCE_CLIENT", "SOURCE_SERVER_CHECK"]

_PACKAGES = ("rocketmq", "rocketmq.grpc_protocol")


def _load() -> tuple[Any, Any, Any]:
    names = [f"rocketmq.grpc_protocol.{each}" for each in ("definition_pb2", "service_pb2", "service_pb2_grpc")]
    added = [] if "rocketmq" in sys.modules else _stand_in()
    try:
        definition, service, calls = (import_module(name) for name in names)
    finally:
        for package in added:
            del sys.modules[package]
    return definition, service, calls


def _stand_in() -> list[str]:
    """Put empty packages where the client's are, so that their own code does not run. Raises ModuleNotFoundError."""
    spec = find_spec("rocketmq")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'rocketmq'", name="rocketmq")
    where = Path(next(iter(spec.submodule_search_locations)))
    for package, path in zip(_PACKAGES, (where, where / "grpc_protocol"), strict=True):
        module = ModuleType(package)
        module.__path__ = [str(path)]
        sys.modules[package] = module
    return list(_PACKAGES)


definition, service, calls = _load()
CODE_NAMES: dict[int, str] = {number: name for name, number in definition.Code.items()}
ENCODING_NAMES: dict[int, str] = {number: name for name, number in definition.Encoding.items()}
NORMAL, FIFO, DELAY, TRANSACTION = map(definition.MessageType.Value, ("NORMAL", "FIFO", "DELAY", "TRANSACTION"))
PRODUCER, SIMPLE_CONSUMER = map(definition.ClientType.Value, ("PRODUCER", "SIMPLE_CONSUMER"))
COMMIT, ROLLBACK = map(definition.TransactionResolution.Value, ("COMMIT", "ROLLBACK"))
SOURCE_CLIENT, SOURCE_SERVER_CHECK = map(definition.TransactionSource.Value, ("SOURCE_CLIENT", "SOURCE_SERVER_CHECK"))
