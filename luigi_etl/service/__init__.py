"""Unattended operation: runs by cron, alerts, repair, checks."""
