"""What goes wrong between a client and its server, made on purpose."""
