"""One spelling and one file name for each query."""

import re
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luigi_etl.api.query import parse_query, parse_stored_query

# --- the file name -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit", "slug"),
    [
        ("", 10, "all-newest-10"),
        ("", 0, "all"),
        ("state=CA", 0, "state=CA"),
        ("state=NY&state=CA", 25, "state=CA,state=NY-newest-25"),
        ("company=../../x", 0, "company=..%2F..%2Fx"),
        ("company=x-newest-10", 0, "company=x%2Dnewest%2D10"),
        ("company=~", 0, "company=%7E"),
        ("company=Bank+of+%C3%85", 0, "company=Bank+of+%C3%85"),
    ],
)
def test_slug_is_readable(text: str, limit: int, slug: str) -> None:
    assert parse_query(text).slug(limit) == slug


def test_only_a_long_slug_is_cut_and_hashed() -> None:
    longest = 180 - len("company=")

    assert parse_query("company=" + "x" * longest).slug(0) == "company=" + "x" * longest
    assert re.fullmatch(r"company=x{155}~[0-9a-f]{16}", parse_query("company=" + "x" * (longest + 1)).slug(0))


# --- for any query -------------------------------------------------------------------------------

Pairs = list[tuple[str, str]]

PIECES = ["x", "-", "newest", "-newest-", "1", "10", "~", ",", "company=", "%2D", "%", "+", " ", "../", "é"]
hostile = st.lists(st.sampled_from([*PIECES, "x" * 170]), min_size=1, max_size=5).map("".join)
trimmed = hostile.map(lambda text: text[:200].strip()).filter(bool)
values = (st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200) | hostile).filter(
    lambda text: text.strip() == text != "" and len(text) <= 200
)


def many(items: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(items, min_size=1, max_size=3, unique=True)


def one(items: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return items.map(lambda item: [item])


def days(first: int, last: int) -> st.SearchStrategy[list[str]]:
    return one(st.integers(first, last).map("{}-06-30".format))


filters = st.fixed_dictionaries(
    {},
    optional={
        "company": many(values),
        "product": many(values),
        "not_tags": many(values),
        "search_term": one(values),
        "state": many(st.sampled_from(["CA", "NY", "TX"])),
        "date_received_min": days(2011, 2018),
        "date_received_max": days(2018, 2026),
    },
)
queries = filters.map(lambda given: [(name, value) for name, values in given.items() for value in values])


@st.composite
def spelled(draw: st.DrawFn, pairs: Pairs) -> str:
    """Write pairs in some order, some twice, each character in one of the ways it can be written."""

    def written(character: str) -> str:
        ways = ["".join(f"%{byte:02X}" for byte in character.encode())]
        ways.append(ways[0].lower())
        if character == " ":
            ways.append("+")
        elif character not in "&+%=" and character.isprintable():
            ways.append(character)
        return chance.choice(ways)

    chance = Random(draw(st.integers(0, 1 << 32)))  # quicker than a draw for each character
    repeated = pairs + chance.sample(pairs, min(2, len(pairs)))
    chance.shuffle(repeated)
    parts = ["=".join("".join(map(written, text)) for text in pair) for pair in repeated]
    return chance.choice(["", "?"]) + "&".join(parts)


@settings(max_examples=60, deadline=None)
@given(st.data(), queries)
def test_all_spellings_parse_to_one_query(data: st.DataObject, pairs: Pairs) -> None:
    first = parse_query(data.draw(spelled(pairs)))
    second = parse_query(data.draw(spelled(pairs)))

    assert first == second
    assert str(first) == str(second)
    assert first.slug(10) == second.slug(10)


@settings(max_examples=60, deadline=None)
@given(st.data(), queries)
def test_spelling_parses_to_the_same_query(data: st.DataObject, pairs: Pairs) -> None:
    query = parse_query(data.draw(spelled(pairs)))

    assert set(query.pairs) - {("field", "all")} == set(pairs)
    assert parse_query(str(query)) == parse_stored_query(str(query)) == query
    assert str(parse_query(str(query))) == str(query)
    assert str(query).isascii()


@settings(max_examples=100, deadline=None)
@given(queries, st.integers(0, 10**9))
@example([("company", "../../x")], 0)
@example([("company", ".")], 0)
@example([("company", "\u202e/\u2028.")], 1)
@example([("company", "é" * 200)], 10**9)
def test_slug_is_a_safe_file_name(pairs: Pairs, limit: int) -> None:
    slug = parse_query("&".join(f"{name}={quote(value)}" for name, value in pairs)).slug(limit)

    assert re.fullmatch(r"[A-Za-z0-9._+%,=~-]{1,180}", slug)
    assert not slug.startswith(".")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(many(trimmed), st.sampled_from([0, 1, 10])), max_size=20))
@example([(["x-newest-10"], 0), (["x"], 10)])
@example([(["-newest-newest-"], 10), (["-newest"], 10), (["-newest-newest"], 10), (["-newest-"], 1)])
@example([(["x", "y"], 0), (["x,company=y"], 0), (["y"], 0)])
@example([(["x" * 200], 0), (["x" * 199], 0), (["x" * 200], 1), (["x" * 200], 10)])
def test_different_queries_or_limits_have_different_slugs(asked: list[tuple[list[str], int]]) -> None:
    different = {
        (parse_query("&".join(f"company={quote(value)}" for value in given)), limit) for given, limit in asked
    }

    assert len({query.slug(limit) for query, limit in different}) == len(different)
