"""For tests of your own: the conformance suite, a queue that fails on demand."""
