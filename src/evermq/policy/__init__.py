"""What one queue is made to promise: a queue in, a queue out."""
