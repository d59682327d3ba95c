"""Unattended operation: runs by cron, alerts, repair and checks."""
