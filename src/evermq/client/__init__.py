"""What applications use: a producer and a consumer over any queue, and their twins without asyncio."""

from evermq.client.backoff import Backoff
from evermq.client.consumer import Consumer
from evermq.client.producer import Producer

__all__ = ["Backoff", "Consumer", "Producer"]
