"""The complaints that the API finds for a `search_term`.

All words of a text of plain words must be in one field. Any other text is Lucene's `query_string`, whose
words are joined by OR. If the sandbox can't evaluate a part as the API's engine does, its result is
unknown (None). If a complaint's match depends on that, the search is refused.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from luigi_etl.sandbox.analysis import (
    Placed,
    UnknownScriptError,
    core,
    indexed_words,
    may_have_another_stem,
    same_stem,
    searched_words,
    standard_words,
)
from luigi_etl.sandbox.lucene import Clauses, Leaf, LuceneSyntaxError, Node, Range, parse

Answer = bool | None  # None: unknown
Test = Callable[[str], Answer]
Read = Callable[[str], Any]
Match = Callable[[Read], Answer]

KEYWORDS = ("complaint_id", "company_response", "state", "submitted_via", "tags", "timely", "zip_code")
STANDARD = ("issue", "product", "sub_issue", "sub_product", "consumer_consent_provided", "consumer_disputed")
STEMMED = ("company", "company_public_response", "complaint_what_happened")
DATES = ("date_received", "date_sent_to_company")
ALL_FIELDS = ("all", "_all")
WORDS_ONLY = r"[A-Za-z\d\s]+"
KEYS = ("AND", "OR", "NOT", "TO")
MOST_EXPANSIONS = 50
STEM_ENDINGS = "e y i a um us le ic ate ize ity ism ify able".split()
FIRST_INDEXED = datetime(2011, 12, 1, tzinfo=timezone.utc)
SAFE_REGEXP = r"(?:[^\W_]|[ .,*+?|()\[\]{}:;'_-]|\\[^\w])*"
MILLISECOND = timedelta(milliseconds=1)
DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?(Z|[+-]\d\d:?\d\d)?)?)?)?"
)


class TermError(Exception):
    """A search term that the API's engine refuses."""


class UnsupportedTermError(Exception):
    """A search term that the sandbox can't evaluate."""


@dataclass(frozen=True)
class Field:
    """A field of the index: the complaint's field, and the kind of its analyzer."""

    source: str
    kind: str  # keyword, upper, standard, stemmed, date or indexed


def _fields() -> dict[str, Field]:
    fields = {name: Field(name, "keyword") for name in KEYWORDS}
    for kind, names in (("standard", STANDARD), ("stemmed", STEMMED), ("date", DATES)):
        fields |= {name: Field(name, kind) for name in names}
    fields |= {f"{name}.raw": Field(name, "keyword") for name in (*STANDARD, *STEMMED[:2])}
    return fields | {
        "company.suggest": Field("company", "upper"),
        "has_narrative": Field("has_narrative", "keyword"),
        "date_indexed": Field("date_indexed", "indexed"),
        "_id": Field("complaint_id", "keyword"),
    }


FIELDS = _fields()
EVERY_FIELD = tuple(field for name, field in FIELDS.items() if name != "_id")


def matcher(term: str, name: str, vocabulary: Callable[[str], set[str]]) -> Callable[[Read], bool]:
    """Return the condition of a search term, a function of a complaint's field reader.

    Raises:
        TermError: the engine would refuse the term.
        UnsupportedTermError: the sandbox can't evaluate the term; the condition raises it, too.

    """
    everywhere = name in ALL_FIELDS
    plain = re.fullmatch(WORDS_ONLY, term) is not None and not any(key in term for key in KEYS)
    query = _Query("*" if everywhere else name, "AND" if plain else "OR", everywhere, vocabulary)
    match = query.leaf(Leaf("text", name, term)) if plain and not everywhere else query.of_term(term)

    def found(read: Read) -> bool:
        answer = match(read) if match else False
        if answer is None:
            raise UnsupportedTermError(min(query.doubts, default="its words are not known"))
        return answer

    return found


@dataclass
class _Query:
    """The query of one request: its default field, and the operator between its words."""

    default: str
    operator: Any
    lenient: bool
    vocabulary: Callable[[str], set[str]]

    def __post_init__(self) -> None:
        self.doubts: set[str] = set()

    def of_term(self, term: str) -> Match | None:
        try:
            return self.node(parse(term, self.operator, lambda leaf: self.leaf(leaf) is None))
        except LuceneSyntaxError:
            raise TermError from None

    def node(self, node: Node) -> Match | None:
        if isinstance(node, Clauses):
            return self._clauses(node)
        return self._range(node) if isinstance(node, Range) else self.leaf(node)

    def _clauses(self, node: Clauses) -> Match | None:
        matches = {
            occur: [match for one, child in node.clauses if one == occur and (match := self.node(child))]
            for occur in ("must", "should", "must_not")
        }
        if not any(matches.values()):
            return None

        def match_clauses(read: Read) -> Answer:
            answers = [one(read) for one in matches["must"]]
            answers += [_negated(one(read)) for one in matches["must_not"]]
            if matches["should"] and not matches["must"]:
                answers.append(_any(one(read) for one in matches["should"]))
            return _negated(_any(map(_negated, answers)))

        return match_clauses

    def _named(self, name: str | None) -> tuple[Field, ...]:
        name = name or self.default
        if name == "*":
            return EVERY_FIELD
        if "*" in name or (name.startswith("_") and name not in FIELDS) or name.endswith("_formatted"):
            raise UnsupportedTermError(f"the field {name!r} is not known to the sandbox")
        return (FIELDS[name],) if name in FIELDS else ()

    def leaf(self, leaf: Leaf) -> Match | None:
        """Return the condition of a leaf; None if only stop words are in it."""
        if leaf.field == "_exists_":
            return self._exists(leaf.text)
        if leaf.kind == "wildcard" and leaf.text == "*":
            name = leaf.field or self.default
            return (lambda _: True) if name == "*" else self._exists(name)
        if leaf.kind in ("text", "phrase") and leaf.field in KEYWORDS and leaf.text[:1] not in ("<", ">"):
            name = leaf.field  # the direct way: lookups ask for many ids among all complaints
            return lambda read: read(name) == leaf.text
        if leaf.kind == "text" and (half := re.fullmatch(r"([<>])(=?)(.+)", leaf.text, re.DOTALL)):
            inclusive = bool(half[2])
            low, high = (half[3], None) if half[1] == ">" else (None, half[3])
            return self._range(Range(leaf.field, low, high, inclusive, inclusive))
        return self._in_fields(leaf.field, lambda field: self._test(leaf, field))

    def _exists(self, name: str) -> Match:
        sources = [field.source for field in self._named(name)]
        return lambda read: any(read(source) not in (None, "") for source in sources)

    def _range(self, node: Range) -> Match | None:
        return self._in_fields(node.field, lambda field: self._range_test(node, field))

    def _in_fields(self, name: str | None, test_of: Callable[[Field], Test | None]) -> Match | None:
        fields = self._named(name)
        if not fields:
            return lambda _: False
        tests = [(field, test) for field in fields if (test := self._tested(test_of, field))]
        if not tests:
            return None

        def match_fields(read: Read) -> Answer:
            return _any(test(text) for field, test in tests for text in _texts(read(field.source), field))

        return match_fields

    def _tested(self, test_of: Callable[[Field], Test | None], field: Field) -> Test | None:
        """Return a field's test; for an impossible search it is always false, or the term is refused."""
        try:
            test = test_of(field)
        except (TermError, LuceneSyntaxError):
            if not self.lenient:
                raise TermError from None
            return lambda _: False
        except UnknownScriptError:
            raise UnsupportedTermError("the sandbox can't separate the words of this script") from None
        return lru_cache(maxsize=1 << 16)(self._guarded(test)) if test else None

    def _guarded(self, test: Test) -> Test:
        def guarded(text: str) -> Answer:
            try:
                return test(text)
            except UnknownScriptError:
                self.doubts.add("the sandbox can't separate the words of a complaint's script")
                return None

        return guarded

    def _test(self, leaf: Leaf, field: Field) -> Test | None:
        if field.kind in ("date", "indexed"):
            if leaf.kind in ("text", "phrase"):
                return self._date_test(*_instants(leaf.text), field)
            if leaf.kind == "regexp":
                return lambda _: False
            raise TermError  # "can only be used on text fields"
        if leaf.kind in ("text", "phrase"):
            return self._words_test(leaf, field)
        return self._pattern_test(leaf, field)

    def _words_test(self, leaf: Leaf, field: Field) -> Test | None:
        if field.kind == "keyword":
            return lambda text: text == leaf.text
        if field.kind == "upper":
            return lambda text: text.upper() == leaf.text.upper()
        words = (standard_words if field.kind == "standard" else searched_words)(leaf.text)
        if not words:
            return None
        if leaf.kind == "phrase" and len(words) > 1:
            return self._phrase_test(words, _slop(leaf.fuzziness), field)
        some = [word for _, word in words]

        def test(text: str) -> Answer:
            there = {word for _, word in _indexed(text, field)}
            answers = [self._is_among(word, there, field) for word in some]
            return _any(answers) if self.operator == "OR" else _negated(_any(map(_negated, answers)))

        return test

    def _is_among(self, word: str, there: Iterable[str], field: Field) -> Answer:
        if field.kind == "standard" or word in there:
            return word in there
        return _any(self._same(word, other) for other in there)

    def _same(self, word: str, other: str) -> Answer:
        answer = same_stem(word, other)
        if answer is None:
            self.doubts.add(f"the stems of {word!r} and {other!r} are not known")
        return answer

    def _phrase_test(self, words: tuple[Placed, ...], slop: int, field: Field) -> Test:
        if slop and len({word for _, word in words}) < len(words):
            raise UnsupportedTermError("a phrase with a slop has the same word twice")

        def test(text: str) -> Answer:
            there = _indexed(text, field)
            sure = [{place for place, other in there if other == word} for _, word in words]
            if _stand_together(sure, words, slop):
                return True
            if field.kind == "standard":
                return False
            near = [
                {place for place, other in there if self._same(word, other) is not False} for _, word in words
            ]
            return None if _stand_together(near, words, slop) else False

        return test

    def _pattern_test(self, leaf: Leaf, field: Field) -> Test:
        fold = _fold(field)
        begin, is_found = self._pattern(leaf, field, fold)

        def of_word(word: str) -> Answer:
            # A fuzzy search near to unknown stems was refused before.
            if field.kind != "stemmed" or leaf.kind == "fuzzy" or not may_have_another_stem(word):
                return is_found(word)
            base = core(word)
            if leaf.kind == "prefix" and base.startswith(begin):
                return True
            if not base.startswith(begin) and not begin.startswith(base):
                return False
            self.doubts.add(f"the stem of {word!r} is not known")
            return None

        return lambda text: _any(of_word(word) for _, word in _indexed(text, field))

    def _pattern(self, leaf: Leaf, field: Field, fold: Callable[[str], str]) -> tuple[str, Test]:
        """Return the common beginning of all matches, and the test of a word."""
        if leaf.kind == "prefix":
            begin = fold(leaf.text)
            return begin, lambda word: word.startswith(begin)
        if leaf.kind == "fuzzy":
            return "", self._fuzzy(leaf, field, fold(leaf.text))
        if leaf.kind == "wildcard":
            pattern = _wildcard(leaf.text, fold)
            begin = fold(re.split(r"[*?\\]", leaf.text)[0])
        else:
            pattern = re.compile(_regexp(fold(leaf.text)))
            begin = re.match(r"[\w ]*", "" if "|" in leaf.text else fold(leaf.text))[0]  # type: ignore[index]
            begin = begin[:-1] if fold(leaf.text)[len(begin) : len(begin) + 1] in ("*", "?", "{") else begin
        return begin, lambda word: pattern.fullmatch(word) is not None

    def _fuzzy(self, leaf: Leaf, field: Field, word: str) -> Test:
        edits = {"": 0 if len(leaf.text) < 3 else 1 if len(leaf.text) < 6 else 2, "0": 0, "1": 1, "2": 2}.get(
            leaf.fuzziness or ""
        )
        if edits is None:
            raise UnsupportedTermError(f"the fuzziness {leaf.fuzziness!r} is not 0, 1 or 2")
        distance = lru_cache(maxsize=1 << 16)(lambda other: _distance(word, other, edits))
        words = {one for text in self.vocabulary(field.source) for _, one in _indexed(text, field)}
        if sum(distance(one) <= edits for one in words) > MOST_EXPANSIONS:
            raise UnsupportedTermError(f"{word!r}~ is near to more than {MOST_EXPANSIONS} words")
        if field.kind == "stemmed" and any(_may_be_near(word, one, edits) for one in words):
            raise UnsupportedTermError(f"the stems of words near to {word!r} are not known")
        return lambda other: distance(other) <= edits

    def _range_test(self, node: Range, field: Field) -> Test:
        if field.kind in ("date", "indexed"):
            low, high = (_instants(text) if text is not None else None for text in (node.low, node.high))
            first = low and (low[0] if node.includes_low else low[1] + MILLISECOND)
            last = high and (high[1] if node.includes_high else high[0] - MILLISECOND)
            return self._date_test(first, last, field)
        fold = _fold(field)
        lowest, highest = (text if text is None else fold(text) for text in (node.low, node.high))

        def is_within(word: str) -> bool:
            above = lowest is None or word > lowest or (node.includes_low and word == lowest)
            return above and (highest is None or word < highest or (node.includes_high and word == highest))

        def of_word(word: str) -> Answer:
            if field.kind != "stemmed" or not may_have_another_stem(word):
                return is_within(word)
            ends = {is_within(core(word)), is_within(core(word) + "{")}
            if len(ends) == 1:
                return ends.pop()
            self.doubts.add(f"the stem of {word!r} is not known")
            return None

        return lambda text: _any(of_word(word) for _, word in _indexed(text, field))

    def _date_test(self, first: datetime | None, last: datetime | None, field: Field) -> Test:
        if field.kind == "indexed":
            unknown = last is None or last >= FIRST_INDEXED
            if unknown:
                self.doubts.add("the day on which a complaint was indexed is not known")
            return lambda _: None if unknown else False

        def test(text: str) -> bool:
            try:
                moment = _moment(text)
            except ValueError:  # of a recording
                return False
            return (first is None or first <= moment) and (last is None or moment <= last)

        return test


# --- values and words ----------------------------------------------------------------------------


def _any(answers: Iterable[Answer]) -> Answer:
    """Return whether any answer is true; None if that depends on an unknown one."""
    result: Answer = False
    for answer in answers:
        if answer:
            return True
        result = None if answer is None else result
    return result


def _negated(answer: Answer) -> Answer:
    return None if answer is None else not answer


def _texts(value: Any, field: Field) -> list[str]:
    if field.kind == "indexed":
        return [""]
    if isinstance(value, bool):
        return [str(value).lower()]
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one]


def _indexed(text: str, field: Field) -> tuple[Placed, ...]:
    if field.kind == "standard":
        return standard_words(text)
    if field.kind == "stemmed":
        return indexed_words(text)
    return ((0, text.upper() if field.kind == "upper" else text),)


def _fold(field: Field) -> Callable[[str], str]:
    """Return the function that normalizes a pattern for a field."""
    if field.kind == "keyword":
        return str
    return str.upper if field.kind == "upper" else str.lower


def _slop(fuzziness: str | None) -> int:
    try:
        return int(float(fuzziness or 0))
    except ValueError:
        return 0


def _stand_together(places: list[set[int]], words: tuple[Placed, ...], slop: int) -> bool:
    """Return whether words are in their order, or moved by at most `slop` places in total."""
    shifted = [{place - offset for place in some} for some, (offset, _) in zip(places, words, strict=True)]
    if not slop:
        return bool(set.intersection(*shifted))
    return any(
        all(any(begin <= place <= begin + slop for place in some) for some in shifted)
        for begin in set.union(*shifted)
    )


def _wildcard(text: str, fold: Callable[[str], str]) -> re.Pattern[str]:
    parts = re.findall(r"\\.|.", text, re.DOTALL)
    meant = {"*": ".*", "?": "."}
    return re.compile("".join(meant.get(part) or re.escape(fold(part[-1])) for part in parts), re.DOTALL)


def _regexp(text: str) -> str:
    """Translate a regular expression of Lucene, if it means the same in Python."""
    if not re.fullmatch(SAFE_REGEXP, text) or re.search(r"[*+?}][*+?{]|\(\?|\[[^\]]*\[", text):
        raise UnsupportedTermError(f"the sandbox does not know all of the regular expression {text!r}")
    try:
        re.compile(text)
    except re.error:
        raise TermError from None
    return text


def _may_be_near(word: str, other: str, edits: int) -> bool:
    """Return whether an unknown stem of another word may be within this number of edits."""
    if not may_have_another_stem(other):
        return False
    begins = (other[:size] for size in range(len(core(other)), len(other) + 1))
    stems = {f"{begin}{ending}" for begin in begins for ending in ("", *STEM_ENDINGS)}
    return any(_distance(word, stem, edits) <= edits for stem in stems)


def _distance(one: str, other: str, most: int) -> int:
    """Return the edit distance with swaps, or any number above `most`."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, their in enumerate(other, 1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != their))
            swapped = row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == their
            now.append(min(cost, before[column - 2] + 1) if swapped else cost)
        before, last = last, now
    return last[-1]


def _moment(text: str) -> datetime:
    """Return the instant of a complaint's date."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _instants(text: str) -> tuple[datetime, datetime]:
    """Return the first and last instant of a date; `2026-08` is a whole month.

    Raises:
        TermError: the text is not a date.

    """
    if text.startswith("now") or "||" in text:
        raise UnsupportedTermError("date arithmetic is not known")
    match = DATE.fullmatch(text)
    try:
        if match:
            return _of_parts(match)
        if re.fullmatch(r"-?\d{1,15}", text):
            moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=int(text))
            return moment, moment
    except (ValueError, OverflowError):
        pass
    raise TermError


def _of_parts(match: re.Match[str]) -> tuple[datetime, datetime]:
    numbers = [int(part) for part in match.groups()[:6] if part is not None]
    zone = _moment(f"2000-01-01T00:00:00{match[8] or 'Z'}").tzinfo
    year, month, day, *clock = numbers if len(numbers) > 2 else (*numbers, 1, 1)
    hour, minute, second = (*clock, 0, 0, 0)[:3] if len(numbers) > 2 else (0, 0, 0)
    begin = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    if match[7]:
        begin = begin.replace(microsecond=int(f"{match[7]:0<3}"[:3]) * 1000)
        return begin, begin
    if len(numbers) == 1:
        end = begin.replace(year=begin.year + 1)
    elif len(numbers) == 2:
        end = (begin + timedelta(days=31)).replace(day=1)
    else:
        unit = ("days", "hours", "minutes", "seconds")[len(numbers) - 3]
        end = begin + timedelta(**{unit: 1})
    return begin, end - MILLISECOND
