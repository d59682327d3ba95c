"""The same with dlt: a resource of pages, normalised and loaded as CSV into a folder.

python with_dlt.py URL LIMIT TARGET [arrow]    (LIMIT 0: all)

dlt lays out its files itself: TARGET is the folder for them. With `arrow` the pages are tables of PyArrow,
which dlt takes as they are.

Its settings are those of contestants.py. Rows, when they are many, are normalised by a process for each core:
up to a quarter less time where two cores are free, if the extracted files are several to each, and 0.3
seconds more when they are few. It does not pay for tables. No faster beyond noise were dlt's own orjson for
the pages, no nesting of tables, and no identifiers for rows; slower was NORMALIZE__START_METHOD=spawn.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
from ccdb import COLUMNS, DATES, PAGE, address
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
    """Give the complaints, page by page."""
    size = limit or PAGE
    cursor = ""
    session = requests.Client().session
    while True:
        hits = session.get(address(url, size, cursor)).json()["hits"]["hits"]
        page = [hit["_source"] for hit in hits]
        for complaint in page:
            for field in DATES:
                complaint[field] = (complaint[field] or "")[:10]
        yield shape(page)
        if limit or len(hits) < size:
            return
        cursor = "{}_{}".format(*hits[-1]["sort"])


def arrow(page: list[Complaint]) -> Any:
    """Return a page as a table."""
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
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), *[arrow for _ in sys.argv[4:]])
