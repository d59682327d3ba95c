"""Complaint files: the CFPB's daily file, its archives, and copies that people keep."""
