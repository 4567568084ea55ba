"""The socket door: the port served to other processes, and used from there as if it were here."""
