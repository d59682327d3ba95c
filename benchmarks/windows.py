"""The chain over several queries at once, as a project of one's own would: for `luigi --module windows`."""

import luigi

from luigi_etl import StoreComplaints
from luigi_etl.tasks.parameters import TimestampParameter


class StoreWindows(luigi.WrapperTask):
    """Every complaint that matches any of the queries."""

    timestamp = TimestampParameter()
    queries = luigi.ListParameter()

    def requires(self) -> list[StoreComplaints]:
        """Return a task for each query."""
        return [StoreComplaints(timestamp=self.timestamp, query=query, limit=0) for query in self.queries]
