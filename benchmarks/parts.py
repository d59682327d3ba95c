"""The parts of the benchmark; each measures one question and returns its tables."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

from benchmarks.bench import Bench, Costs, log
from benchmarks.contestants import (
    LIMIT,
    NEVER_WAITS,
    PREFECT,
    Chain,
    Contestant,
    make_dlt,
    make_peer,
    prefect_server,
)
from benchmarks.own import compare_with_libraries
from benchmarks.processes import BenchmarkError
from benchmarks.server import Arrival
from benchmarks.tables import describe_noise, format_costs, format_ratios, format_spread, format_table
from tests.made import many, stored

BARE = "the bare script"
SNAPSHOTS = 100_000
PER_MINUTE = 20  # the API's rate limit in requests
REQUESTS = 125  # of the extraction against the rate limit: five whole minutes after the first


class Rounds(NamedTuple):
    """The number of rounds of each part."""

    tick: int = 15
    bulk: int = 5
    largest: int = 3  # bulks of all complaints, which take minutes
    growth: int = 5
    own: int = 9


def measure_tick(bench: Bench, rounds: Rounds) -> str:
    """Measure a run for the ten newest complaints, as a whole process."""
    with _chain(bench) as chain, prefect_server(bench.folder / "prefect") as with_server:
        ephemeral = {"PREFECT_HOME": str(bench.folder / "ephemeral"), **PREFECT}
        contestants = [
            chain.by_cron(),
            chain.by_hand(pace=NEVER_WAITS),
            *_make_peers(with_server),
            make_peer("Prefect, no server", "prefect", "with_prefect.py", **ephemeral),
        ]
        costs = bench.run_in_turns(contestants, bench.complaints, LIMIT, rounds.tick)
    return _format_comparison(costs)


def measure_bulk(bench: Bench, rounds: Rounds) -> str:
    """Measure runs from the API's pages to the CSV, for a fifth of the complaints and for all."""
    tables = []
    with _chain(bench) as chain, prefect_server(bench.folder / "prefect") as with_server:
        contestants = [
            chain.by_hand(pace=0),
            chain.by_windows(workers=1),
            chain.by_windows(workers=2),
            make_peer("DuckDB, keeping all", "duckdb", "with_duckdb_keeping_all.py"),
            *_make_peers(with_server),
        ]
        for newest, times, warm_up in (
            (bench.complaints // 5, rounds.bulk, True),
            (bench.complaints, rounds.largest, False),
        ):
            costs = bench.run_in_turns(contestants, newest, 0, times, warm_up=warm_up)
            tables += [f"{newest:,} complaints:", _format_comparison(costs)]
    return "\n\n".join(tables)


def measure_throttle(bench: Bench, _: Rounds) -> str:
    """Measure how much of the API's rate limit an extraction uses."""
    with _chain(bench) as chain:
        bench.take_arrivals()
        page_size = bench.complaints // REQUESTS
        contestant = chain.by_hand(pace=PER_MINUTE, options=[f"--ccdb-page-size={page_size}"])
        bench.run(contestant, bench.complaints, 0, "throttled/")
        arrivals = bench.take_arrivals()
    return "One extraction:\n\n" + format_table(["", ""], _throttle_rows(arrivals))


def measure_growth(bench: Bench, rounds: Rounds) -> str:
    """Measure whether the cost of a complaint or a run grows with the data."""
    with _chain(bench) as chain:
        rows = _measure_extractions(bench, chain.by_hand(pace=0), rounds.growth)
        rows += _measure_ticks(bench, chain, rounds.growth * 2)
    return f"{rounds.growth} rounds, twice as many for runs by cron:\n\n" + format_table(
        ["", "first", "last", "ratio"], rows
    )


def measure_own(bench: Bench, rounds: Rounds) -> str:
    """Compare modules of this project with libraries that could replace them."""
    return compare_with_libraries(bench.folder, bench.url(bench.complaints), rounds.own)


PARTS: Mapping[str, Callable[[Bench, Rounds], str]] = {
    "tick": measure_tick,
    "bulk": measure_bulk,
    "throttle": measure_throttle,
    "growth": measure_growth,
    "own": measure_own,
}


@contextmanager
def _chain(bench: Bench) -> Iterator[Chain]:
    """Create the chain and run its luigid during the block."""
    chain = Chain(bench.folder / "chain")
    with chain.luigid():
        yield chain


def _make_peers(prefect: Mapping[str, str]) -> list[Contestant]:
    return [
        make_peer(BARE, "bare", "bare.py"),
        make_peer("DuckDB", "duckdb", "with_duckdb.py"),
        make_peer("Polars", "polars", "with_polars.py"),
        make_dlt("dlt", "dlt"),
        make_dlt("dlt, Arrow", "dlt-arrow", "arrow"),
        make_peer("Prefect", "prefect", "with_prefect.py", **prefect),
    ]


def _format_comparison(costs: Costs) -> str:
    return "\n\n".join([format_costs(costs), format_ratios(costs), describe_noise(costs, BARE)])


# --- rate limit ----------------------------------------------------------------------------------


def _throttle_rows(arrivals: list[Arrival]) -> list[list[str]]:
    """Return the table's rows; requests are counted in whole minutes after the first."""
    seconds = [arrival.seconds - arrivals[0].seconds for arrival in arrivals]
    counts = [
        sum(60 * minute <= second < 60 * (minute + 1) for second in seconds)
        for minute in range(1, int(seconds[-1] // 60))
    ]
    intervals = [later - earlier for earlier, later in zip(seconds, seconds[PER_MINUTE:], strict=False)]
    throttled = sum(arrival.status == 429 for arrival in arrivals)
    return [
        ["requests", f"{len(seconds)} in {seconds[-1]:.0f} s"],
        ["in each whole minute after the first", ", ".join(map(str, counts))],
        ["the lowest of these, as a share of the limit", f"{min(counts, default=0) / PER_MINUTE:.0%}"],
        [f"seconds between a request and the {PER_MINUTE}th after it (60 or more)", format_spread(intervals)],
        ["responses with status 429", str(throttled)],
    ]


# --- growth --------------------------------------------------------------------------------------

Pairs = list[tuple[float, float]]  # the first and the last value of each round


def _measure_extractions(bench: Bench, chain: Contestant, rounds: int) -> list[list[str]]:
    """Compare extractions of a fifth of the complaints with those of all, and first with last pages.

    The time of an extraction of ten complaints is the fixed cost, which is subtracted.
    """
    fifth, total = bench.complaints // 5, bench.complaints
    seconds: Pairs = []
    memory: Pairs = []
    pages: Pairs = []
    for number in range(rounds + 1):
        start = bench.run(chain, total, LIMIT)
        first = bench.run(chain, fifth, 0)
        bench.take_arrivals()
        last = bench.run(chain, total, 0)
        log(f"round {number} of {rounds}: {first.wall:.2f} s, {last.wall:.2f} s")
        if number:  # round 0 warms up
            seconds.append(((first.wall - start.wall) / fifth * 1e6, (last.wall - start.wall) / total * 1e6))
            memory.append((first.memory / 1e6, last.memory / 1e6))
            pages.append(_page_intervals(bench.take_arrivals()))
    return [
        [f"µs per complaint, of {fifth:,} and of {total:,}", *_format_pairs(seconds)],
        ["peak memory for these, in MB", *_format_pairs(memory)],
        [f"ms from page to page, in the first and the last tenth of {total:,}", *_format_pairs(pages)],
    ]


def _page_intervals(arrivals: list[Arrival]) -> tuple[float, float]:
    """Return the mean milliseconds between pages in the first and in the last tenth."""
    intervals = [later.seconds - earlier.seconds for earlier, later in pairwise(arrivals)]
    if not intervals:
        raise BenchmarkError("growth: all complaints fit on one page; use more --complaints")
    tenth = max(1, len(intervals) // 10)
    return statistics.mean(intervals[:tenth]) * 1e3, statistics.mean(intervals[-tenth:]) * 1e3


def _measure_ticks(bench: Bench, chain: Chain, rounds: int) -> list[list[str]]:
    """Compare runs in an empty folder with runs in a folder of many snapshots."""
    log(f"creating {SNAPSHOTS:,} snapshots")
    full, empty = bench.folder / "full", bench.folder / "empty"
    many(full, stored(bench.folder / "model", bench.minute), bench.minute, SNAPSHOTS)
    contestants = [chain.beside(empty, "no snapshots"), chain.beside(full, f"{SNAPSHOTS:,} snapshots")]
    costs = bench.run_in_turns(contestants, bench.complaints, LIMIT, rounds)
    pairs = [(first.wall * 1e3, last.wall * 1e3) for first, last in zip(*costs.values(), strict=True)]
    return [[f"ms for a run by cron, with no snapshots and with {SNAPSHOTS:,}", *_format_pairs(pairs)]]


def _format_pairs(pairs: Pairs) -> list[str]:
    """Return the spreads of the first values, the last values, and the ratios within pairs."""
    first, last = zip(*pairs, strict=True)
    return [
        format_spread(first),
        format_spread(last),
        format_spread([late / early for early, late in pairs]),
    ]
