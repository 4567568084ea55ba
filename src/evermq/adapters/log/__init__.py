"""The embedded engine: one append-only log for all topics of a directory."""
