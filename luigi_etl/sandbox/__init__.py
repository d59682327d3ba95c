"""A stand-in of the CFPB's complaint search API on loopback: for trials without the network, and the tests.

What it serves is generated or replayed, and says so in each answer's `_meta.sandbox`, from where it
reaches the Data Package of whatever is stored. It imports nothing of the pipeline, so that the two
can't share a mistake.
"""
