"""Scripts that run inside the environments of other systems; `benchmarks.peers` makes these and reads what they print."""
