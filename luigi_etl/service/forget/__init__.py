"""Removal of the snapshots after a minute, for a run whose clock was ahead.

The database is rolled back in one transaction:

1. The complaints that a later snapshot touched return to their state at a minute, as the history holds it.
   It is the minute of the newest remaining snapshot whose files are missing.
2. The remaining snapshots after that minute, all with files, are merged again in order.

So rows and history are as if the later snapshots had never been merged. If files are missing, two values are
not exact: `last_seen` is the newest minute that the history proves, and a complaint is withdrawn only if a
remaining snapshot found it so. The next sync corrects both.
"""
