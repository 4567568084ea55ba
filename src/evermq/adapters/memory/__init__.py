"""Queues in memory: the model that every other adapter is compared with, and a queue for tests.

- Lanes. A message with a key goes to `lane_of(key, lanes)`; the messages of a batch that have none go to one
  lane, and the lanes take turns. Offsets of a lane are dense, from 0.
- Groups. Each sees every message that was not yet dropped when the group was made, at its `start`; a message is
  dropped when all groups have settled it. A topic without groups keeps everything, up to its bound, then `Overloaded`.
- Holding. A lane is held by the reader that has unacked deliveries of it, and only the holder is handed more of
  it. Beyond its fair share of the lanes a reader takes none while another reader of the group waits with less.
- Release. The released message, and what the reader holds of the same key behind it, come again in order when the
  delay is over; later messages of the key wait behind them, other keys flow. `attempt` counts the handings out.
- Delay. A message with `evermq-deliver-at-ms` in the future stands in no lane (its position is in "delay") until it
  is due; it holds nobody up, and takes its place in order when it becomes due.
- All of it belongs to one event loop, and ends with the process.
"""

from evermq.adapters.memory.place import MemoryPlace
from evermq.adapters.memory.queue import MemoryQueue

__all__ = ["MemoryPlace", "MemoryQueue"]
