"""Code that all packages share: errors, files, locks, retries, output for people."""
