"""What `python -m benchmarks serving` starts: services of peers, each in its own environment, and the load."""
