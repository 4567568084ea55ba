"""Proofs that anybody can run: real processes, real faults, a verdict from recorded histories."""
