"""Offline proof that snapshots are what the API sent, and that the database holds them.

Each step is repeated by the code of its task, and the results are compared.
"""
