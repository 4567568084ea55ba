"""One engine each, behind the port."""
