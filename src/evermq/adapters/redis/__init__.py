"""Redis behind the port: lists on many keys, leased by readers.

- Lanes. A topic has `lanes` lists (128 by default), one key each, so that no key is hot. A message with a key goes to
  `lane_of(key, lanes)`; the messages of a batch that have none go to one lane, and the lanes take turns.
- Entries. The messages of a batch that share a lane become one value of 64 KiB or so (`entry.py` has the format). A
  batch is one round trip, and on one server one script: all of it is appended or nothing.
- Groups are declared with the topic. There is one copy of a message, a cursor a group, and the lists are trimmed at
  the slowest group. Without a group nothing is taken; a lane that is full refuses.
- Readers lease lanes with a token and a time limit, peek at what is there, and save what they did in a script that
  checks that the lease is still theirs. Messages leave a list only when every group has settled them, so a crash needs
  no repair: when the lease is over, the next reader gets what was not settled, as the next attempt.
- Delay. A message that is early waits in the sorted set of its lane, and is moved when it is due, by the server's
  clock.
- Another lane count is a new epoch: appends go to the new lanes, and readers empty the old ones first.

`connect.py` reads the URL and the server's settings; `lua/` holds what runs inside Redis; `window.py` is what a
group has done in a lane, as a pure value.
"""
