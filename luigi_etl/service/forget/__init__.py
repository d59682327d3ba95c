"""Removal of the snapshots after a minute: those of a run whose clock was ahead.

The database is rolled back in one transaction. What a later snapshot touched goes back to the state of the
newest remaining snapshot whose files are gone, as the history holds it; the remaining snapshots after that,
whose files are all there, are merged again in the order of their minutes. So rows and history are as if the
later snapshots had never been merged. Where files are gone, two things can't be known, and the older answer
is taken: `last_seen` is the newest minute in which the history proves that a complaint was seen, and a
complaint counts as withdrawn only if a remaining snapshot found it so. The next sync brings both up to date.
"""
