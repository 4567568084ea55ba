"""Who takes part in benchmarks/degrade.py beside Redis itself: a whole ladder, and the bare adapter of its primary."""
