"""How a command runs: one event loop, errors as one line, exit statuses."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from evermq.errors import Damaged, EvermqError, Misconfigured, Rejected, Unavailable, Uncertain

__all__ = ["CHECK_FAILED", "NOT_ALL_SENT", "UNREACHABLE", "WRONG_USE", "config_path", "fail", "guard", "is_terminal"]
__all__ += ["run", "say", "show_tracebacks", "stop_on_signals"]

CHECK_FAILED = 1
WRONG_USE = 2
NOT_ALL_SENT = 3
UNREACHABLE = 4
_debug = False


def show_tracebacks() -> None:
    """For `--debug`."""
    global _debug
    _debug = True


def guard(app: Callable[[], None]) -> None:
    """Run the command line; whatever goes wrong is one line on standard error."""
    try:
        app()
    except BrokenPipeError:
        # Whoever read our output went away: not worth a word. Nothing may be flushed into the pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except EvermqError as error:
        fail(error)
    except OSError as error:
        fail(Unavailable(f"{error.filename or 'the system'}: {error.strerror or error}"))


def fail(error: EvermqError) -> NoReturn:
    """End with one line that says what and the way out, and the status for it."""
    if _debug:
        raise error
    say(f"evermq: {error}")
    wrong = isinstance(error, Misconfigured | Rejected | Damaged)
    sys.exit(WRONG_USE if wrong else UNREACHABLE if isinstance(error, Unavailable | Uncertain) else CHECK_FAILED)


def say(text: str) -> None:
    """A line for a person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def is_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout.isatty()


def config_path(given: Path | None) -> Path | None:
    """--config, else ./evermq.toml, else $EVERMQ_CONFIG."""
    if given or Path("evermq.toml").exists():
        return given
    named = os.environ.get("EVERMQ_CONFIG")
    return Path(named) if named else None


def run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its exit status."""
    sys.exit(asyncio.run(work))


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT instead of ending at once."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
