"""kazoo's client for a loop: its calls awaited, its errors typed, its threads kept away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    AuthFailedError,
    KazooException,
    NoAuthError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from evermq.errors import Closed, Denied, Unavailable, Uncertain

__all__ = ["Session"]

_CALL_S_MAX = 3.0
_DELAY_S_MAX = 1.0
logging.getLogger("kazoo").addHandler(logging.NullHandler())  # so that a library's news is not written to stderr


class Session:
    """A connection to an ensemble that is kept up from `start` to `close`.

    on_session: called in the loop each time it is connected, `fresh` if what was ephemeral before is gone.
    """

    def __init__(self, where: str, on_session: Callable[[bool], None], **options: Any) -> None:
        self.where = where
        self._on_session = on_session
        self._loop = asyncio.get_running_loop()
        self._connected = asyncio.Event()
        self._lost = True
        self._closed = False
        retry = KazooRetry(max_tries=-1, delay=0.1, backoff=2, max_delay=_DELAY_S_MAX)
        self._client = KazooClient(connection_retry=retry, **options)
        self._client.add_listener(self._in_thread)

    def start(self) -> None:
        """Connect in the background."""
        self._client.start_async()

    @property
    def connected(self) -> bool:
        """Whether the session is known to live."""
        return self._connected.is_set()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def call(self, verb: str, *arguments: Any, writes: bool = False, **options: Any) -> Any:
        """An operation of kazoo's (`get`, `set`, …). Its errors about nodes and versions are raised as they are.

        Raises Unavailable, Denied, Closed, and Uncertain where a write may have been done."""
        if self._closed:
            raise Closed(f"{self.where} was closed: open it again")
        try:
            async with asyncio.timeout(_CALL_S_MAX):
                await self._connected.wait()
        except TimeoutError:
            raise Unavailable(f"{self.where}: no server answers") from None
        kind = Uncertain if writes else Unavailable
        try:
            async with asyncio.timeout(_CALL_S_MAX):
                return await self._bridge(getattr(self._client, f"{verb}_async")(*arguments, **options))
        except TimeoutError:
            raise kind(f"{self.where}: no answer to {verb} within {_CALL_S_MAX:.0f} s") from None
        except (NoAuthError, AuthFailedError):
            path = arguments[0] if arguments else ""
            raise Denied(f"{self.where}: this user has no right to {verb} {path}: ask for it, or log in") from None
        except KazooException as error:
            if error.__class__.__name__ in ("BadVersionError", "NoNodeError", "NodeExistsError"):
                raise
            raise kind(f"{self.where}: {verb}: {error!r}") from None
        except KazooTimeoutError as error:
            raise kind(f"{self.where}: {verb}: {error!r}") from None

    async def close(self) -> None:
        """End the session, which takes away what is ephemeral."""
        if not self._closed:
            self._closed = True
            self._connected.set()
            await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        with contextlib.suppress(KazooException, KazooTimeoutError):
            self._client.stop()
            self._client.close()

    async def _bridge(self, result: Any) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()

        def done() -> None:
            if future.done():
                return
            if result.exception is not None:
                future.set_exception(result.exception)
            else:
                future.set_result(result.value)

        result.rawlink(lambda _: self.soon(done))
        return await future

    def soon(self, act: Callable[..., None], *arguments: Any) -> None:
        """Run something in the loop, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is gone, and nobody waits any more
            self._loop.call_soon_threadsafe(act, *arguments)

    def _in_thread(self, state: KazooState) -> None:
        self.soon(self._changed, state)

    def _changed(self, state: KazooState) -> None:
        if self._closed:
            return
        if state == KazooState.CONNECTED:
            fresh, self._lost = self._lost, False
            self._connected.set()
            self._on_session(fresh)
        else:
            self._lost = self._lost or state == KazooState.LOST
            self._connected.clear()
