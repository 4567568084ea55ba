"""A machine that can be replayed: its loop, its clock, its disk; everything follows from a seed."""
