"""RabbitMQ behind the port: a topic is a direct exchange, a lane of a group is a quorum queue bound to it.

- Lanes. The routing key of a message is the number of its lane; a message with a key goes to `lane_of(key, lanes)`.
  Every group has a queue for each lane, `TOPIC:GROUP:LANE`, with a single active consumer, so a key keeps its order.
- Append. A batch is one write of frames; its confirms are counted, not awaited one by one. Messages are persistent and
  mandatory: what no queue would take comes back and is `NoSuchTopic`, although RabbitMQ confirms it as well.
- Groups are declared with the topic; a group sees what is appended after it was bound. Which topics there are stands
  in a small message of its own (`registry.py`), because AMQP lists nothing.
- Readers have a channel for each lane. To give a lane away is to close its channel: the broker then returns what was
  out and hands the lane on in one step, which keeps the order.

`connect.py` reads the URL, `link.py` keeps a connection, `content.py` is the format, `window.py` is what a reader has
of a lane, as a pure value.
"""
