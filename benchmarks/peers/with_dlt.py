"""The same with dlt: a resource of pages, normalised and loaded as CSV into a folder.

python with_dlt.py URL LIMIT TARGET    (LIMIT 0: all)

dlt lays out its files itself: TARGET is the folder for them.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
}

import dlt  # it reads the environment
from ccdb import COLUMNS, DATES, PAGE, address
from dlt.sources.helpers import requests


@dlt.resource(
    name="complaints",
    write_disposition="replace",
    file_format="csv",
    columns={field: {"data_type": "text"} for field in COLUMNS},
)
def complaints(url: str, limit: int) -> Iterator[list[dict[str, Any]]]:
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
        yield page
        if limit or len(hits) < size:
            return
        cursor = "{}_{}".format(*hits[-1]["sort"])


def main(url: str, limit: int, target: Path) -> None:
    """Load the complaints."""
    pipeline = dlt.pipeline(
        pipeline_name="complaints",
        pipelines_dir=str(target / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=target.absolute().as_uri()),
        dataset_name="ccdb",
    )
    pipeline.run(complaints(url, limit))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
