"""Apache Kafka behind the port; needs `evermq[kafka]`, and brokers of Kafka 2.4 or newer.

- Writing. Batches are encoded by aiokafka's compiled builder and carried by `sender`, idempotent and with acks=all: a
  batch a lane, one request a broker, the next batch of a lane only after the one before it is settled.
- Reading. One librdkafka consumer per group and process; the readers of a group in one process share its lanes as
  the readers of the embedded log do, those of other processes get lanes by Kafka's own rebalance.
- Acknowledgements. Kafka commits a prefix. What is done beyond it, what waits for its time and how often it was
  handed out stand packed in the metadata of the commit, so they outlive restarts; see `progress`.
- `lane` and `progress` are pure; `group` owns the consumer and its thread; `admin` is the only user of AdminClient.
"""
