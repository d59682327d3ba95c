"""A checked request, and the complaints that it matches."""

from collections.abc import Callable
from dataclasses import dataclass

from luigi_etl.sandbox.row import Row
from luigi_etl.sandbox.terms import TermError, matcher


class EngineError(Exception):
    """The engine refuses the request; the API answers 424."""


@dataclass(frozen=True)
class Search:
    """A checked request; the values of one of its `filters` are alternatives."""

    size: int = 25
    sort: str = "relevance_desc"
    search_after: str | None = None
    search_term: str = ""
    field: str = "complaint_what_happened"
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    no_aggs: bool = False


def condition_of(search: Search, texts: Callable[[str], set[str]]) -> Callable[[Row], bool]:
    """Return the condition of a search: filters by AND, values by OR, all `not_` names together."""
    tests = [_filter(name, values) for name, values in search.filters if not name.startswith("not_")]
    excluded = [
        _filter(name.removeprefix("not_"), values)
        for name, values in search.filters
        if name.startswith("not_")
    ]
    if search.search_term:
        try:
            found = matcher(search.search_term, search.field, texts)
        except TermError:
            raise EngineError from None
        tests.append(lambda row: found(row.value))

    def wanted(row: Row) -> bool:
        if excluded and all(test(row) for test in excluded):
            return False
        return all(test(row) for test in tests)

    return wanted


def _filter(name: str, values: tuple[str, ...]) -> Callable[[Row], bool]:
    if name.endswith("_min"):
        return lambda row: _day_of(row, name) >= values[-1]
    if name.endswith("_max"):
        return lambda row: "" < _day_of(row, name) <= values[-1]
    if name in ("product", "issue"):
        families = _families(values)
        return lambda row: _is_or_is_below(row, name, families)
    if name == "has_narrative":
        if not set(values) <= {"true", "false"}:
            raise EngineError
        return lambda row: row.value(name) in [value == "true" for value in values]
    return lambda row: row.value(name) in values


def _day_of(row: Row, name: str) -> str:
    return row.received if name.startswith("date_received") else row.sent


def _families(values: tuple[str, ...]) -> dict[str, set[str]]:
    """Return the requested children by parent; a parent with children stands only for these."""
    families: dict[str, set[str]] = {}
    for value in values:
        parent, bullet, child = value.partition("\u2022")
        families.setdefault(parent, set()).update({child} if bullet else ())
    return families


def _is_or_is_below(row: Row, name: str, families: dict[str, set[str]]) -> bool:
    children = families.get(str(row.value(name)))
    return children is not None and (not children or row.value(f"sub_{name}") in children)
