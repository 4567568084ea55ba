"""What a forked child is told that goes on with what its parent had opened."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import gc, os, sys
import evermq
from evermq.client import blocking

queue = blocking.run(evermq.open(sys.argv[1]))
if child := os.fork():
    os.waitpid(child, 0)
else:
    message = evermq.MessageFactory()(b"x")
    for act in (lambda: queue.append_blocking([message]), lambda: blocking.run(queue.append([message]))):
        try:
            act()
        except evermq.Unavailable as error:
            print(error, flush=True)
    gc.collect()
    os._exit(0)
"""


def test_forked_child_is_told_in_a_sentence_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, f"log://{tmp_path}/log/t"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == [
        "the log was closed: it was opened before a fork, and belongs to the parent; open the directory again, it will "
        "be re-read",
        "evermq.client.blocking was used before a fork: use it first in the child",
    ]
    assert "never awaited" not in ran.stderr
