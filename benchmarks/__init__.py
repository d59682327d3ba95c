"""What it costs: measurements to run again, each with its tables for the README."""
