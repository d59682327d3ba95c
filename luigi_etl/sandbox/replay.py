"""An index of recorded answers."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.generate import Generator
from luigi_etl.sandbox.index import Index
from luigi_etl.sandbox.row import Row, milliseconds_of


def replayed_index(files: Sequence[Path], seed: int, era: Era) -> Index:
    """Return an index of the hits in recorded answers; for one id, the last file counts.

    Raises:
        ValueError: a file is not a recorded answer.

    """
    rows: list[Row] = []
    for file in files:
        try:
            for answer in _recorded_answers(file):
                rows += map(_recorded_row, json.loads(answer)["hits"]["hits"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{file} is not a recorded answer of the search API ({type(error).__name__})"
            ) from None
    description = f"complaints replayed from {', '.join(file.name for file in files)}"
    last_indexed = max((row.received for row in rows), default="1970-01-01")
    return Index(rows, last_indexed, Generator(seed, era, 90), description)


def _recorded_answers(file: Path) -> list[bytes]:
    """Return the answers in a file: a single one, or one per line of a gzip file, as extractions are."""
    content = file.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content).splitlines()
    return [content]


def _recorded_row(hit: dict[str, Any]) -> Row:
    """Return the row of a recorded hit, unchanged; only its sort values are read."""
    source = hit["_source"]
    sort: tuple[Any, Any] = hit.get("sort") or (None, hit["_id"])
    # In a search by relevance the first sort value is the score, a float or null.
    milliseconds = sort[0] if isinstance(sort[0], int) else milliseconds_of(source.get("date_received"))
    sent = source.get("date_sent_to_company") if isinstance(source, dict) else None
    envelope = {key: hit[key] for key in hit if key not in ("_source", "sort")}
    return Row(str(sort[1]), milliseconds, str(sent or "")[:10], source, envelope)
