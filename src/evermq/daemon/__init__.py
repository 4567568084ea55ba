"""The only place that knows everything: the command line and, later, the daemon."""
