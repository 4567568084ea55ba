"""Who takes part in benchmarks/redis_lanes.py: evermq over a Redis, and what people use on a Redis otherwise."""
