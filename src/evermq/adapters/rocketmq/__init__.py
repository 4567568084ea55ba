"""RocketMQ 5 behind the port, through its proxy.

- Append. Many messages travel in one SendMessageRequest, whose answer is one for all; the proxy chooses the queue.
- Readers of a group in this process share a window of messages that the broker made invisible to others for a lease,
  which is renewed while they are in hand. An acknowledgement is one request for many.
- Topics, groups and offsets are the business of brokers and name servers, which speak another protocol (`remoting.py`).

`protocol.py` has the messages of the proxy, `content.py` is the format, `window.py` is what a group has in hand, as a
pure value.
"""
