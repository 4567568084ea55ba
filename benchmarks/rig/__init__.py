"""What every benchmark shares: contenders, shuffled rounds, rows, the command line, the environment."""
