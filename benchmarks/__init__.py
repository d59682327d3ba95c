"""What it costs: measurements to run again, each with its tables in docs/performance.md."""
