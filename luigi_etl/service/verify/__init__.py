"""Offline proof that snapshots are what the API sent, and that the database has their content.

Each step is repeated by the code of its task, and the results are compared. At most one page is in memory.
"""
