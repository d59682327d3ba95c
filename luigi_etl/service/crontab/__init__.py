"""The user's crontab, and the block of lines that runs a checkout."""
