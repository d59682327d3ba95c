"""The parts: what is measured, each with its table."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

from benchmarks.bench import Bench, Costs, tell
from benchmarks.contestants import (
    LIMIT,
    NEVER_WAITS,
    PREFECT,
    Chain,
    Contestant,
    dlt,
    peer,
    prefect_server,
)
from benchmarks.own import beside_libraries
from benchmarks.processes import BenchmarkError
from benchmarks.server import Arrival
from benchmarks.tables import cost_table, noise, ratio_table, spread, table
from tests.made import many, stored

BARE = "the bare script"
SNAPSHOTS = 100_000
PER_MINUTE = 20  # requests the API permits
REQUESTS = 125  # of the throttled walk: five whole minutes after the first


class Rounds(NamedTuple):
    """How often each part's work is done."""

    tick: int = 15
    bulk: int = 5
    largest: int = 3  # bulks of all complaints, which take minutes
    growth: int = 5
    own: int = 9


def tick(bench: Bench, rounds: Rounds) -> str:
    """Measure what a minute takes: the ten newest complaints, the whole process."""
    with _chain(bench) as chain, prefect_server(bench.folder / "prefect") as with_server:
        ephemeral = {"PREFECT_HOME": str(bench.folder / "ephemeral"), **PREFECT}
        contestants = [
            chain.by_cron(),
            chain.by_hand(pace=NEVER_WAITS),
            *_peers(with_server),
            peer("Prefect, no server", "prefect", "with_prefect.py", **ephemeral),
        ]
        costs = bench.in_turn(contestants, bench.complaints, LIMIT, rounds.tick)
    return _compared(costs)


def bulk(bench: Bench, rounds: Rounds) -> str:
    """Measure the way of very many complaints from pages to the CSV, of a fifth of them and of all."""
    tables = []
    with _chain(bench) as chain, prefect_server(bench.folder / "prefect") as with_server:
        contestants = [
            chain.by_hand(pace=0),
            chain.by_windows(workers=1),
            chain.by_windows(workers=2),
            peer("DuckDB, keeping all", "duckdb", "with_duckdb_keeping_all.py"),
            *_peers(with_server),
        ]
        for newest, times, warm_up in (
            (bench.complaints // 5, rounds.bulk, True),
            (bench.complaints, rounds.largest, False),
        ):
            costs = bench.in_turn(contestants, newest, 0, times, warm_up=warm_up)
            tables += [f"{newest:,} complaints:", _compared(costs)]
    return "\n\n".join(tables)


def throttle(bench: Bench, _: Rounds) -> str:
    """Measure how well a walk uses what the API's throttle permits."""
    with _chain(bench) as chain:
        bench.arrivals()
        contestant = chain.by_hand(
            pace=PER_MINUTE, options=[f"--ccdb-page-size={bench.complaints // REQUESTS}"]
        )
        bench.run(contestant, bench.complaints, 0, "throttled/")
        arrivals = bench.arrivals()
    return "One walk:\n\n" + table(["", ""], _walked(arrivals))


def growth(bench: Bench, rounds: Rounds) -> str:
    """Measure whether the last complaints, and the runs beside many snapshots, cost more than the first."""
    with _chain(bench) as chain:
        rows = _growth_of_walks(bench, chain.by_hand(pace=0), rounds.growth)
        rows += _growth_of_snapshots(bench, chain, rounds.growth * 2)
    return f"{rounds.growth} rounds, of ticks twice as many:\n\n" + table(
        ["", "the first", "the last", "ratio"], rows
    )


def own(bench: Bench, rounds: Rounds) -> str:
    """Measure what is written here beside the libraries that would do it."""
    return beside_libraries(bench.folder, bench.url(bench.complaints), rounds.own)


PARTS: Mapping[str, Callable[[Bench, Rounds], str]] = {
    "tick": tick,
    "bulk": bulk,
    "throttle": throttle,
    "growth": growth,
    "own": own,
}


@contextmanager
def _chain(bench: Bench) -> Iterator[Chain]:
    """Have the chain, with luigid running."""
    chain = Chain(bench.folder / "chain")
    with chain.luigid():
        yield chain


def _peers(prefect: Mapping[str, str]) -> list[Contestant]:
    return [
        peer(BARE, "bare", "bare.py"),
        peer("DuckDB", "duckdb", "with_duckdb.py"),
        peer("Polars", "polars", "with_polars.py"),
        dlt("dlt", "dlt"),
        dlt("dlt, Arrow", "dlt-arrow", "arrow"),
        peer("Prefect", "prefect", "with_prefect.py", **prefect),
    ]


def _compared(costs: Costs) -> str:
    return "\n\n".join([cost_table(costs), ratio_table(costs), noise(costs, BARE)])


# --- the throttled walk --------------------------------------------------------------------------


def _walked(arrivals: list[Arrival]) -> list[list[str]]:
    """Return what the requests of a walk tell, of whole minutes after the first."""
    seconds = [arrival.seconds - arrivals[0].seconds for arrival in arrivals]
    counts = [
        sum(60 * minute <= second < 60 * (minute + 1) for second in seconds)
        for minute in range(1, int(seconds[-1] // 60))
    ]
    between = [later - earlier for earlier, later in zip(seconds, seconds[PER_MINUTE:], strict=False)]
    refused = sum(arrival.status == 429 for arrival in arrivals)
    return [
        ["requests", f"{len(seconds)} in {seconds[-1]:.0f} s"],
        ["in each whole minute after the first", ", ".join(map(str, counts))],
        ["the fewest, of those permitted", f"{min(counts, default=0) / PER_MINUTE:.0%}"],
        [f"seconds from each to the {PER_MINUTE}th after it, of which 60 are due", spread(between)],
        ["answered with 429", str(refused)],
    ]


# --- growth --------------------------------------------------------------------------------------

Pairs = list[tuple[float, float]]  # of the first and of the last, one a round


def _growth_of_walks(bench: Bench, chain: Contestant, rounds: int) -> list[list[str]]:
    """Compare the rows of a walk over a fifth with those over all, and the first pages with the last.

    What a walk over ten takes is no row's, and left out.
    """
    fewer, all_of_them = bench.complaints // 5, bench.complaints
    seconds: Pairs = []
    memory: Pairs = []
    pages: Pairs = []
    for number in range(rounds + 1):
        start = bench.run(chain, all_of_them, LIMIT)
        first = bench.run(chain, fewer, 0)
        bench.arrivals()
        last = bench.run(chain, all_of_them, 0)
        tell(f"round {number} of {rounds}: {first.wall:.2f} s, {last.wall:.2f} s")
        if number:  # the first warms up
            seconds.append(
                ((first.wall - start.wall) / fewer * 1e6, (last.wall - start.wall) / all_of_them * 1e6)
            )
            memory.append((first.memory / 1e6, last.memory / 1e6))
            pages.append(_tenths(bench.arrivals()))
    return [
        [f"µs for a complaint, of {fewer:,} and of {all_of_them:,}", *_spreads(seconds)],
        ["MB for that", *_spreads(memory)],
        [f"ms from page to page, in the first and the last tenth of {all_of_them:,}", *_spreads(pages)],
    ]


def _tenths(arrivals: list[Arrival]) -> tuple[float, float]:
    """Return the milliseconds from page to page in the first tenth of a walk, and in the last."""
    between = [later.seconds - earlier.seconds for earlier, later in pairwise(arrivals)]
    if not between:
        raise BenchmarkError("the growth from page to page takes more than one page of complaints")
    tenth = max(1, len(between) // 10)
    return statistics.mean(between[:tenth]) * 1e3, statistics.mean(between[-tenth:]) * 1e3


def _growth_of_snapshots(bench: Bench, chain: Chain, rounds: int) -> list[list[str]]:
    """Compare ticks beside very many snapshots with ticks beside none but those of these rounds."""
    tell(f"making {SNAPSHOTS:,} snapshots")
    beside, alone = bench.folder / "beside", bench.folder / "alone"
    many(beside, stored(bench.folder / "model", bench.minute), bench.minute, SNAPSHOTS)
    contestants = [chain.beside(alone, "beside none"), chain.beside(beside, f"beside {SNAPSHOTS:,}")]
    costs = bench.in_turn(contestants, bench.complaints, LIMIT, rounds)
    pairs = [(first.wall * 1e3, last.wall * 1e3) for first, last in zip(*costs.values(), strict=True)]
    return [[f"ms for a tick by cron, beside no snapshots and {SNAPSHOTS:,}", *_spreads(pairs)]]


def _spreads(pairs: Pairs) -> list[str]:
    """Return the medians of the first, of the last, and of the ratios within the pairs, and their spreads."""
    first, last = zip(*pairs, strict=True)
    return [spread(first), spread(last), spread([late / early for early, late in pairs])]
