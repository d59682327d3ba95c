"""Benchmarks of the chain and of similar tools; the results are in docs/performance.md."""
