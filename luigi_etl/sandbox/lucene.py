"""A parser of Lucene's query syntax, by the grammar of its classic query parser (QueryParser.jj).

No package on PyPI parses it as Lucene does: luqum 1.0 takes `||`, `&&` and `!` as words, and accepts
`debt/collection`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Occur = Literal["must", "should", "must_not"]
Kind = Literal["text", "phrase", "prefix", "wildcard", "regexp", "fuzzy"]

BLANK = r"[ \t\n\r\u3000]"
START = r"(?:[^ \t\n\r\u3000+\-!():^\[\]\"{}~*?\\/]|\\.)"
CHAR = rf"(?:{START}|[-+])"
# Of two tokens of the same length the first one wins, as in JavaCC.
TOKENS = {
    "AND": r"AND|&&",
    "OR": r"OR|\|\|",
    "NOT": r"NOT|!",
    "PLUS": r"\+",
    "MINUS": r"-",
    "BAREOPER": rf"[-+!]{BLANK}",
    "LPAREN": r"\(",
    "RPAREN": r"\)",
    "COLON": r":",
    "STAR": r"\*",
    "CARAT": r"\^",
    "QUOTED": r'"(?:[^"\\]|\\.)*"',
    "TERM": rf"{START}{CHAR}*",
    "FUZZY_SLOP": rf"~(?:[0-9]+(?:\.[0-9]+)?{CHAR}*|{CHAR}*)",
    "PREFIXTERM": rf"{START}{CHAR}*\*",
    "WILDTERM": rf"(?:{START}|[*?])(?:{CHAR}|[*?])*",
    "REGEXPTERM": r"/(?:\\/|[^/])*/",
    "RANGE_START": r"[\[{]",
}
BOOST_TOKENS = {"NUMBER": r"[0-9]+(?:\.[0-9]+)?"}
RANGE_TOKENS = {
    "TO": r"TO",
    "RANGE_END": r"[\]}]",
    "RANGE_QUOTED": r'"(?:[^"]|\\")+"',
    "RANGE_GOOP": r"[^ \]}]+",
}
TERMS = ("TERM", "STAR", "PREFIXTERM", "WILDTERM", "REGEXPTERM", "BAREOPER")
AFTER_NO_SERIES = ("COLON", "STAR", "FUZZY_SLOP", "CARAT", "AND", "OR")


class LuceneSyntaxError(Exception):
    """A query that Lucene can't parse."""


@dataclass(frozen=True)
class Token:
    """A token of a query, with its kind in Lucene's grammar."""

    kind: str
    image: str


@dataclass(frozen=True)
class Leaf:
    """A condition on a field (None: the default field); `fuzziness` has the digits after a tilde."""

    kind: Kind
    field: str | None
    text: str
    fuzziness: str | None = None


@dataclass(frozen=True)
class Range:
    """A range of a field's values; None is an open end."""

    field: str | None
    low: str | None
    high: str | None
    includes_low: bool
    includes_high: bool


@dataclass(frozen=True)
class Clauses:
    """A boolean query; a series of words is a single leaf."""

    clauses: tuple[tuple[Occur, "Node"], ...]


Node = Leaf | Range | Clauses


def parse(query: str, operator: Literal["AND", "OR"], vanishes: Callable[[Leaf], bool]) -> Node:
    """Parse a query; `operator` joins clauses without an operator.

    Leaves that vanish (stop words) are left out, as in Lucene, before clauses are joined.

    Raises:
        LuceneSyntaxError: the query can't be parsed.

    """
    parser = _Parser(_tokens(query), operator, vanishes)
    node = parser.query(None)
    parser.take("EOF")
    return node


def unescaped(text: str) -> str:
    """Remove the escapes of a text.

    Raises:
        LuceneSyntaxError: a backslash ends the text, or no four hexadecimal digits follow a `u`.

    """
    unicode = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    if re.search(r"(?<!\\)(?:\\\\)*\\(?:u|$)", unicode):
        raise LuceneSyntaxError
    return re.sub(r"\\(.)", r"\1", unicode, flags=re.DOTALL)


def _tokens(query: str) -> list[Token]:
    tokens: list[Token] = []
    place, state = 0, TOKENS
    while place < len(query):
        if state is not BOOST_TOKENS and re.match(BLANK, query[place]):
            place += 1
            continue
        token = _longest(query, place, state)
        tokens.append(token)
        place += len(token.image)
        state = {"CARAT": BOOST_TOKENS, "RANGE_START": RANGE_TOKENS}.get(
            token.kind, TOKENS if token.kind in ("NUMBER", "RANGE_END") else state
        )
    return [*tokens, Token("EOF", "")]


def _longest(query: str, place: int, state: dict[str, str]) -> Token:
    found = (
        Token(kind, match[0])
        for kind, pattern in state.items()
        if (match := re.compile(pattern, re.DOTALL).match(query, place))
    )
    try:
        return max(found, key=lambda token: len(token.image))
    except ValueError:
        raise LuceneSyntaxError from None


@dataclass
class _Parser:
    tokens: list[Token]
    operator: Literal["AND", "OR"]
    vanishes: Callable[[Leaf], bool]
    place: int = field(default=0)

    def kind(self, ahead: int = 0) -> str:
        return self.tokens[min(self.place + ahead, len(self.tokens) - 1)].kind

    def take(self, *kinds: str) -> Token:
        token = self.tokens[self.place]
        if token.kind not in kinds:
            raise LuceneSyntaxError
        self.place += token.kind != "EOF"
        return token

    def query(self, name: str | None) -> Node:
        clauses: list[tuple[Occur, Node]] = []
        begin = self.place
        while self.place == begin or self.kind() not in ("EOF", "RPAREN"):
            if self._series_begins():
                self._add(clauses, "must" if self.operator == "AND" else "should", self._series(name))
            else:
                self._clause(name, clauses, first=self.place == begin)
        if len(clauses) == 1 and clauses[0][0] != "must_not":
            return clauses[0][1]
        return Clauses(tuple(clauses))

    def _add(self, clauses: list[tuple[Occur, Node]], occur: Occur, node: Node) -> None:
        if node != Clauses(()) and not (isinstance(node, Leaf) and self.vanishes(node)):
            clauses.append((occur, node))

    def _series_begins(self) -> bool:
        return self.kind() == self.kind(1) == "TERM" and self.kind(2) not in AFTER_NO_SERIES

    def _series(self, name: str | None) -> Node:
        """Read a series of words without operators as a single text."""
        words = [self.take("TERM").image]
        while self.kind() == "TERM" and self.kind(1) not in AFTER_NO_SERIES:
            words.append(self.take("TERM").image)
        return Leaf("text", name, unescaped(" ".join(words)))

    def _clause(self, name: str | None, clauses: list[tuple[Occur, Node]], first: bool) -> None:
        conjunction = self.take("AND", "OR").kind if not first and self.kind() in ("AND", "OR") else None
        modifier = self.take(self.kind()).kind if self.kind() in ("PLUS", "MINUS", "NOT") else None
        if clauses and conjunction and clauses[-1][0] != "must_not":
            if conjunction == "AND":
                clauses[-1] = ("must", clauses[-1][1])
            elif self.operator == "AND":
                clauses[-1] = ("should", clauses[-1][1])
        node = self._field_clause(name)
        required = modifier == "PLUS" or conjunction == "AND"
        if self.operator == "AND":
            required = conjunction != "OR"
        occur: Occur = "must_not" if modifier in ("MINUS", "NOT") else "must" if required else "should"
        self._add(clauses, occur, node)

    def _field_clause(self, name: str | None) -> Node:
        if self.kind() in ("TERM", "STAR") and self.kind(1) == "COLON":
            name = unescaped(self.take("TERM", "STAR").image)
            self.take("COLON")
        if self.kind() != "LPAREN":
            return self._term(name)
        self.take("LPAREN")
        node = self.query(name)
        self.take("RPAREN")
        self._boost()
        return node

    def _term(self, name: str | None) -> Node:
        if self.kind() == "RANGE_START":
            return self._range(name)
        token = self.take(*TERMS, "QUOTED")
        fuzziness = self._boost_and_fuzziness()
        if token.kind == "QUOTED":
            return Leaf("phrase", name, unescaped(token.image[1:-1]), fuzziness)
        if token.kind in ("STAR", "WILDTERM"):
            return Leaf("wildcard", name, token.image)
        if token.kind == "PREFIXTERM":
            return Leaf("prefix", name, unescaped(token.image[:-1]))
        if token.kind == "REGEXPTERM":
            return Leaf("regexp", name, token.image[1:-1])
        image = token.image[:1] if token.kind == "BAREOPER" else token.image
        return Leaf("text" if fuzziness is None else "fuzzy", name, unescaped(image), fuzziness)

    def _boost_and_fuzziness(self) -> str | None:
        boosted = self._boost()
        if self.kind() != "FUZZY_SLOP":
            return None
        fuzziness = self.take("FUZZY_SLOP").image[1:]
        if not boosted:
            self._boost()
        return fuzziness

    def _boost(self) -> bool:
        """Skip a boost, which changes scores but not matches; return whether there was one."""
        if self.kind() != "CARAT":
            return False
        self.take("CARAT")
        self.take("NUMBER")
        return True

    def _range(self, name: str | None) -> Node:
        start = self.take("RANGE_START").image
        low = self._end()
        self.take("TO")
        high = self._end()
        end = self.take("RANGE_END").image
        self._boost()
        return Range(name, low, high, start == "[", end == "]")

    def _end(self) -> str | None:
        token = self.take("RANGE_GOOP", "RANGE_QUOTED", "TO")
        if token.image == "*":
            return None
        text = unescaped(token.image[1:-1] if token.kind == "RANGE_QUOTED" else token.image)
        return None if text == "*" else text
