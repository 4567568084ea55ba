"""How a command runs: one event loop, errors as one line, exit statuses."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TextIO

from evermq.errors import Damaged, EvermqError, Misconfigured, Rejected, Unavailable, Uncertain

__all__ = ["CHECK_FAILED", "NOT_ALL_SENT", "UNREACHABLE", "WRONG_USE", "config_path", "fail", "guard"]
__all__ += [
    "hold_standard_streams",
    "is_terminal",
    "need_standard",
    "run",
    "say",
    "show",
    "show_tracebacks",
    "status_of",
    "stop_on_signals",
    "write",
]

CHECK_FAILED = 1
WRONG_USE = 2
NOT_ALL_SENT = 3
UNREACHABLE = 4
_debug = False


def show_tracebacks() -> None:
    """For `--debug`."""
    global _debug
    _debug = True


def hold_standard_streams() -> None:
    """Keep the numbers of those that are closed: the next file that is opened, which may be a log, would be taken for
    standard input or output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")  # print would take standard output instead


def need_standard(name: str) -> None:
    """Raise Misconfigured where "input" or "output" is closed, and the command is nothing without it."""
    if (sys.stdin if name == "input" else sys.stdout) is None:
        raise Misconfigured(f"standard {name} is closed: redirect it, to /dev/null if nothing is wanted of it")


def guard(app: Callable[[], None]) -> None:
    """Run the command line; whatever goes wrong is one line on standard error."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except EvermqError as error:
        fail(error)
    except OSError as error:
        fail(Unavailable(f"{error.filename or 'the system'}: {error.strerror or error}"))
    except Exception as error:
        if _debug:
            raise
        say(f"evermq: a defect of evermq itself, please report it with the output of --debug: {error!r}")
        sys.exit(CHECK_FAILED)


def fail(error: EvermqError) -> NoReturn:
    """End with one line that says what and the way out, and the status for it."""
    if _debug:
        raise error
    say(f"evermq: {error}")
    sys.exit(status_of(error))


def status_of(error: EvermqError) -> int:
    """The exit status of a command that ends with it."""
    wrong = isinstance(error, Misconfigured | Rejected | Damaged)
    return WRONG_USE if wrong else UNREACHABLE if isinstance(error, Unavailable | Uncertain) else CHECK_FAILED


def say(text: str) -> None:
    """A line for a person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person looks at standard output, or at this stream."""
    looked_at = stream or sys.stdout
    return looked_at is not None and looked_at.isatty()


def config_path(given: Path | None) -> Path | None:
    """--config, else ./evermq.toml, else $EVERMQ_CONFIG."""
    if given or Path("evermq.toml").exists():
        return given
    named = os.environ.get("EVERMQ_CONFIG")
    return Path(named) if named else None


def run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its exit status; where whoever reads its output goes away, that is the end and no error."""
    try:
        sys.exit(asyncio.run(work))
    except BrokenPipeError:
        _end_quietly()


def show(text: str) -> None:
    """A line of the answer, on standard output."""
    try:
        _write_whole(text.encode("utf-8", "surrogateescape") + b"\n")
    except BrokenPipeError:
        _end_quietly()


def _end_quietly() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing may be flushed into the pipe at exit
    sys.exit(0)


async def write(lines: bytes) -> None:
    """Write whole lines to standard output, in one call where the system takes it, so that several processes may
    append to one file. In a thread: whoever reads them may be slow, and others may depend on this process."""
    await asyncio.to_thread(_write_whole, lines)


def _write_whole(lines: bytes) -> None:
    left = memoryview(lines)
    while left:
        try:
            left = left[os.write(1, left) :]
        except BlockingIOError:  # somebody who shares the pipe made it so
            select.select([], [1], [])


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT instead of ending at once; a second one does end it, whatever it waits for."""
    loop = asyncio.get_running_loop()

    def heard(number: int) -> None:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard, number)
