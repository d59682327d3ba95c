"""What it costs: measurements to run again, each a module with a table for the README."""
