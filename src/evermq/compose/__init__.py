"""From configuration to queues."""
