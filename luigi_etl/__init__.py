"""Keeps a faithful copy of the CFPB's consumer complaints: `luigi --module luigi_etl StoreComplaints`."""

from luigi_etl.maintenance import PruneSnapshots
from luigi_etl.tasks import CreateDocument, ExtractComplaints, ParseComplaints, StoreComplaints

__all__ = ["CreateDocument", "ExtractComplaints", "ParseComplaints", "PruneSnapshots", "StoreComplaints"]
