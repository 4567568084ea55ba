"""The contenders of benchmarks/log.py: the raw disk, the embedded log, and the engines it is measured against."""
