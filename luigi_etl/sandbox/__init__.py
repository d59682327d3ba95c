"""A stand-in for the CFPB's complaint search API and files on loopback, for offline trials and the tests.

Its complaints are generated or replayed. Each answer states this in `_meta.sandbox`, and the Data Package
of a snapshot repeats it. The sandbox imports nothing of the pipeline, so the two can't share a mistake.
"""
