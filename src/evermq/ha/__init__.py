"""Techniques: queues made of queues, out of two verbs, route and pump."""
