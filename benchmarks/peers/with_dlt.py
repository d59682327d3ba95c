"""The job with dlt: a resource of pages, normalised and loaded as CSV into a folder.

python with_dlt.py URL LIMIT TARGET [arrow]    (LIMIT 0: all)

dlt chooses the names of its files: TARGET is their folder. With `arrow` the pages are PyArrow tables, which
dlt loads without changes.

contestants.py has the settings. Many rows are normalised by one process per core. With several files for
each of two free cores this takes up to a quarter less time; with few rows it takes 0.3 seconds more, and
tables gain nothing. Not faster: dlt's orjson for the pages, no nested tables, no row identifiers. Slower:
NORMALIZE__START_METHOD=spawn.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
from ccdb import COLUMNS, DATES, PAGE, page_url
from dlt.sources.helpers import requests

Complaint = dict[str, Any]
Shape = Callable[[list[Complaint]], Any]


@dlt.resource(
    name="complaints",
    write_disposition="replace",
    file_format="csv",
    columns={field: {"data_type": "text"} for field in COLUMNS},
)
def complaints(url: str, limit: int, shape: Shape) -> Iterator[Any]:
    """Yield the complaints of each page."""
    size = limit or PAGE
    cursor = ""
    session = requests.Client().session
    while True:
        hits = session.get(page_url(url, size, cursor)).json()["hits"]["hits"]
        page = [hit["_source"] for hit in hits]
        for complaint in page:
            for field in DATES:
                complaint[field] = (complaint[field] or "")[:10]
        yield shape(page)
        if limit or len(hits) < size:
            return
        cursor = "{}_{}".format(*hits[-1]["sort"])


def to_arrow(page: list[Complaint]) -> Any:
    """Return a page as a PyArrow table."""
    import pyarrow

    return pyarrow.Table.from_pylist(page, pyarrow.schema([(field, pyarrow.string()) for field in COLUMNS]))


def main(url: str, limit: int, target: Path, shape: Shape = list) -> None:
    """Load the complaints."""
    pipeline = dlt.pipeline(
        pipeline_name="complaints",
        pipelines_dir=str(target / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=target.absolute().as_uri()),
        dataset_name="ccdb",
    )
    pipeline.run(complaints(url, limit, shape))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), *[to_arrow for _ in sys.argv[4:]])
