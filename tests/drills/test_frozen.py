"""A server that stands still does so with all its processes, in whatever groups these are."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from evermq.drills.engines.node import Node, _is_still, alive

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("child", child.pid, flush=True)
time.sleep(600)
"""


def test_processes_in_groups_of_their_own_are_frozen_and_killed_with_the_others(tmp_path: Path) -> None:
    node = Node("parent", tmp_path, [sys.executable, "-c", PARENT], lambda: node.said("child"))
    node.start()
    child = int(node.tail().split()[1])
    try:
        node.freeze()
        assert _is_still(child)
        node.thaw()
        while _is_still(child):
            time.sleep(0.001)
        node.freeze()
        node.kill()
        assert not alive(child)
    finally:
        node.kill()
        if alive(child):
            os.kill(child, signal.SIGKILL)
