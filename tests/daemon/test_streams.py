"""Standard streams as others leave them: full, without blocking, with nobody at the other end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EVERMQ = [sys.executable, "-m", "evermq.daemon.cli"]
COUNT = 20_000
pytestmark = pytest.mark.timeout(120)


def lines(count: int) -> bytes:
    return b"".join(b"message %08d\n" % number for number in range(count))


@pytest.mark.parametrize("name", ["input", "output"])
def test_pipe_that_does_not_block_is_waited_for(tmp_path: Path, name: str) -> None:
    url = f"log://{tmp_path}/log/orders"
    there, here = os.pipe()
    os.set_blocking(there if name == "input" else here, False)
    if name == "input":
        process = subprocess.Popen([*EVERMQ, "send", url], stdin=there, stdout=subprocess.DEVNULL)
        os.close(there)
        time.sleep(1)  # until it looks, and finds nothing
        with os.fdopen(here, "wb") as pipe:
            pipe.write(lines(COUNT))
    else:
        (tmp_path / "given").write_bytes(lines(COUNT))
        with (tmp_path / "given").open("rb") as given:
            process = subprocess.Popen([*EVERMQ, "send", url], stdin=given, stdout=here)
        os.close(here)
        with os.fdopen(there, "rb") as pipe:
            assert len(pipe.read().splitlines()) == COUNT
    assert process.wait(100) == 0
    state = subprocess.run([*EVERMQ, "topics", "describe", url, "--json"], capture_output=True, check=True)
    assert json.loads(state.stdout)["appended"] == COUNT


def test_what_nobody_could_be_told_is_not_said_to_be_unsent(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        sent = subprocess.run(
            [*EVERMQ, "send", f"log://{tmp_path}/log/orders"], input=b"a\n", stdout=full, stderr=subprocess.PIPE
        )
    assert sent.returncode == 3
    assert b"of 1 messages nobody saw all acknowledgements" in sent.stderr


def test_second_signal_ends_a_reader_whose_output_nobody_takes(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/orders"
    subprocess.run([*EVERMQ, "send", url], input=lines(COUNT), stdout=subprocess.DEVNULL, check=True)
    there, here = os.pipe()
    reading = subprocess.Popen([*EVERMQ, "read", url, "--group", "g"], stdout=here)
    os.close(here)
    assert os.read(there, 1)  # it is at it, and soon the pipe is full
    time.sleep(1)
    reading.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        reading.wait(1)
    reading.send_signal(signal.SIGTERM)
    assert reading.wait(30) == -signal.SIGTERM
    os.close(there)


def test_keys_and_headers_that_are_no_text_are_read_and_sent_again(tmp_path: Path) -> None:
    first, second = f"log://{tmp_path}/one/orders", f"log://{tmp_path}/two/orders"
    given = {"body": "a", "key": "k\udcff", "headers": {"h": "\udc80"}}
    sent = subprocess.run([*EVERMQ, "send", first, "--format", "json"], input=json.dumps(given).encode() + b"\n")
    assert sent.returncode == 0
    read = ["read", "--group", "g", "--format", "json", "--count", "1"]
    there = subprocess.run([*EVERMQ, *read, first], capture_output=True, check=True).stdout
    found = json.loads(there)
    assert (found["key"], found["headers"]) == (given["key"], given["headers"])
    again = json.dumps({name: found[name] for name in ("body", "key", "headers")}).encode() + b"\n"
    subprocess.run([*EVERMQ, "send", second, "--format", "json"], input=again, check=True)
    copied = json.loads(subprocess.run([*EVERMQ, *read, second], capture_output=True, check=True).stdout)
    assert (copied["key"], copied["headers"]) == (given["key"], given["headers"])


@pytest.mark.parametrize("line", [b'{"body":"\\ud800"}', b'{"body":"a","key":"\\ud800"}', b'{"body":"\\ud800'])
def test_half_a_character_is_bad_input(tmp_path: Path, line: bytes) -> None:
    sent = subprocess.run(
        [*EVERMQ, "send", f"log://{tmp_path}/log/orders", "--format", "json"], input=line, capture_output=True
    )
    assert sent.returncode == 3
    assert json.loads(sent.stdout)["error"] == "BadInput"
