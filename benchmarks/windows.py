"""A task that runs the chain for several queries at once, for `luigi --module windows`."""

import luigi

from luigi_etl import StoreComplaints
from luigi_etl.tasks.parameters import TimestampParameter


class StoreWindows(luigi.WrapperTask):
    """All complaints that match any of the queries."""

    timestamp = TimestampParameter()
    queries = luigi.ListParameter()

    def requires(self) -> list[StoreComplaints]:
        """Return one task for each query."""
        return [StoreComplaints(timestamp=self.timestamp, query=query, limit=0) for query in self.queries]
