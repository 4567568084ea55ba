"""Contenders of benchmarks/engines.py: evermq over a real server, and the clients that people use without it."""
