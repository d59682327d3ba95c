"""The text analyzers of the API's index, as the CFPB's ccdb-data-pipeline configures them.

Product and issue use OpenSearch's standard analyzer: whole words in lower case. Company, public response
and narrative are split at blanks, in the index also within words; stop words are dropped, and KStem stems
the rest. KStem needs a dictionary of 30,000 words, which no package on PyPI has. So two words have the
same stem, have different stems, or it is unknown (None).
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby

STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with".split()
)
# Java's Character.isWhitespace, which excludes no-break spaces.
NO_BLANK = r"[^\t-\r\x1c-\x20\u1680\u2000-\u2006\u2008-\u200a\u2028\u2029\u205f\u3000]+"
# Word boundaries of Unicode (UAX 29), for alphabets.
LETTERS = r"[^\W\d_]"
WORD = re.compile(
    rf"\w+(?:(?:(?<={LETTERS})[.'\u00b7\u2018\u2019\u2024\u2027](?={LETTERS})"
    r"|(?<=\d)[.,;'\u2018\u2019\u2024\u2044](?=\d))\w+)*"
)
OTHER_SCRIPT = re.compile(r"[^\W\u0000-\u052f\u1e00-\u1fff]")
# Every ending that KStem may remove, and the endings that it may leave or add.
ENDING = re.compile(
    r"(?:ie[sd]|s|ed|ing|ity|ness|ion|[aeo]r|ly|al|ive|ize|ment|ble|ism|ic|nc[ey]"
    r"|(?<=...)i?an|(?<=...)ese|(?<=....)i)$"  # nationalities become their countries
)
REST = re.compile(r"(?:(?:ic)?at|it|iz|bil|[aeiy])$")
LONGEST_ENDING = 4
# Observed stems, and those of KStem's tables that begin differently from their words.
STEMS = {"companies": "company", "companys": "company"} | dict(
    pair.split(":")
    for pair in (
        "lying:lie dying:die tying:tie vying:vie goes:go going:go does:do doing:do fled:flee holland:dutch "
        "danish:denmark filipino:philippines kampuchean:cambodia myanmar:burma burmese:burma siam:thailand "
        "siamese:thailand thai:thailand british:britain french:france greek:greece swiss:switzerland "
        "irish:ireland spanish:spain scottish:scotland swedish:sweden turkish:turkey finnish:finland "
        "norwegian:norway portuguese:portugal vietnamese:viet uzbek:uzbekistan croat:croatia serb:serbia "
        "argentine:argentina cypriot:cyprus american:america african:africa mexican:mexico german:germany "
        "slovakia:slovak rumania:romania rumanian:romania"
    ).split()
)

Placed = tuple[int, str]


class UnknownScriptError(Exception):
    """A text in a script whose words this module can't separate."""


@lru_cache(maxsize=1 << 16)
def standard_words(text: str) -> tuple[Placed, ...]:
    """Return the words of a product or an issue with their positions.

    Raises:
        UnknownScriptError: for example, a script without blanks between words.

    """
    if OTHER_SCRIPT.search(text):
        raise UnknownScriptError
    return tuple(enumerate(WORD.findall(text.lower())))


@lru_cache(maxsize=1 << 16)
def searched_words(text: str) -> tuple[Placed, ...]:
    """Return the words of a search in a stemmed field, with their positions."""
    words = enumerate(word.lower() for word in re.findall(NO_BLANK, text))
    return tuple((place, word) for place, word in words if word not in STOP_WORDS)


@lru_cache(maxsize=1 << 16)
def indexed_words(text: str) -> tuple[Placed, ...]:
    """Return the indexed words of a text in a stemmed field, with their positions."""
    return tuple(
        (place, word) for place, word in _delimited(re.findall(NO_BLANK, text)) if word not in STOP_WORDS
    )


def _delimited(words: Iterable[str]) -> Iterator[Placed]:
    """Split words at other characters, changes of case and digits (the filter word_delimiter)."""
    place = 0
    for word in words:
        parts = _parts(re.sub(rf"(?<={LETTERS})'[sS](?!\w)", "", word))
        yield place, word.lower()
        if parts and parts != [word]:
            runs = [list(run) for _, run in groupby(parts, key=str.isdigit)]
            yield from ((place + count, part.lower()) for count, part in enumerate(parts))
            begins = [sum(map(len, runs[:number])) for number in range(len(runs))]
            joined = [(begin, run) for begin, run in zip(begins, runs, strict=True) if len(run) > 1]
            joined += [(0, parts)] if len(runs) > 1 else []
            yield from ((place + begin, "".join(run).lower()) for begin, run in joined)
        place += max(1, len(parts))


def _parts(word: str) -> list[str]:
    parts = [""]
    for before, letter in zip(" " + word, word, strict=False):
        if not letter.isalnum():
            parts.append("")
            continue
        change = before.isdigit() != letter.isdigit() or (before.islower() and letter.isupper())
        if before.isalnum() and change:
            parts.append("")
        parts[-1] += letter
    return [part for part in parts if part]


@lru_cache(maxsize=1 << 20)
def same_stem(one: str, other: str) -> bool | None:
    """Return whether two words have the same stem; None if only KStem's dictionary could decide."""
    one, other = STEMS.get(one, one), STEMS.get(other, other)
    if one == other:
        return True
    if not (_varies(one) or _varies(other)):
        return False
    (short, word), (long, _) = sorted(((core(w), w) for w in (one, other)), key=lambda pair: len(pair[0]))
    # A common stem begins with both cores, and is hardly longer than either word.
    is_near = long.startswith(short) and (_varies(word) or word == long)
    is_near = is_near and len(_common(word, long)) >= len(long) - LONGEST_ENDING
    return None if is_near and len(long) <= len(word) + 1 else False


def may_have_another_stem(word: str) -> bool:
    """Return whether the index may hold a word in another form."""
    return word not in STEMS.values() and (word in STEMS or _varies(word))


def core(word: str) -> str:
    """Return the common beginning of all possible stems of a word."""
    if not _varies(word):
        return word
    while len(word) > 3 and (ending := ENDING.search(word)) and ending.start() >= 2:
        word = word[: ending.start()]
    rest = REST.search(word)
    word = word[: rest.start()] if rest and rest.start() >= 2 else word
    return word[:-1] if len(word) > 2 and word[-1] == word[-2] else word


def _varies(word: str) -> bool:
    return len(word) > 2 and bool(re.fullmatch("[a-z]+", word)) and bool(ENDING.search(word))


def _common(one: str, other: str) -> str:
    length = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if length is None else length]
