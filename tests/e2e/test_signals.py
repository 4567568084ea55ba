"""SIGTERM under load: `evermq send` and `read` end in order, with whole lines, and nothing is lost or doubled."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

EVERMQ = [sys.executable, "-m", "evermq.daemon.cli"]
ROUNDS = 4
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def lines_of(url: str) -> list[bytes]:
    """All that is left for the group."""
    command = [*EVERMQ, "read", url, "--group", "g", "--until-empty", "--idle-ms", "50"]
    return subprocess.run(command, capture_output=True, check=True).stdout.splitlines()


def feed(stdin: int, first: int) -> None:
    """Lines of one shape without end, in chunks that cut them anywhere."""
    left = memoryview(b"".join(b"line %07d whole\n" % number for number in range(first, first + 500_000)))
    with contextlib.suppress(BrokenPipeError):
        while left:
            left = left[os.write(stdin, left[:7_777]) :]


def test_send_that_is_told_to_end_has_sent_whole_lines_and_reported_each(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/orders?segment_bytes=4000000"
    acknowledged = 0
    for round_ in range(ROUNDS):
        pipe = subprocess.PIPE
        with subprocess.Popen([*EVERMQ, "send", url], stdin=pipe, stdout=pipe, stderr=pipe) as process:
            assert process.stderr
            assert process.stdin
            assert process.stdout
            feeder = threading.Thread(target=feed, args=(process.stdin.fileno(), round_ * 500_000))
            feeder.start()
            told = [process.stdout.readline() for _ in range(2_000)]
            process.send_signal(signal.SIGTERM)
            told += process.stdout.readlines()
            assert process.wait(60) == 0
            assert process.stderr.read() == b""
            feeder.join()
        assert all(line.endswith(b"\n") and len(line.split()) == 2 for line in told)
        acknowledged += len(told)
    bodies = lines_of(url)
    assert len(bodies) == len(set(bodies)) == acknowledged
    assert {(len(body), body[:5], body[-6:]) for body in bodies} == {(18, b"line ", b" whole")}


def test_read_that_is_told_to_end_acknowledges_what_it_has_written(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/orders?segment_bytes=4000000"
    sent = [b"line %07d whole" % number for number in range(60_000)]
    subprocess.run([*EVERMQ, "send", url], input=b"\n".join(sent), stdout=subprocess.DEVNULL, check=True)
    output = tmp_path / "output"
    for round_ in range(ROUNDS):
        with open(output, "ab") as file:
            command = [*EVERMQ, "read", url, "--group", "g"]
            process = subprocess.Popen(command, stdout=file)
            before = output.stat().st_size
            until = time.monotonic() + 60
            while output.stat().st_size < before + 1_000 * round_ + 1 and time.monotonic() < until:
                time.sleep(0.002)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    in_time = output.read_bytes().splitlines()
    assert in_time
    assert sorted(in_time + lines_of(url)) == sent
