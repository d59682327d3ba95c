"""What every package uses: errors, files and locks, retries, output for people."""
