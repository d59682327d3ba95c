"""Searches in the narratives, with the same syntax and meaning in SQLite and PostgreSQL."""

import re
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, column, func, literal_column, select, table, text

from luigi_etl.common.errors import QueryError, SettingError
from luigi_etl.database.full_text import WORDS, has_index
from luigi_etl.database.schema import ComplaintId, complaints

LONGEST = 500  # characters; the databases refuse words of 2,047 bytes and more than 256 words
_PIECE = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')
_FEWEST_WORDS = text(
    "SELECT min(numnode(websearch_to_tsquery('english', words))) FROM unnest(CAST(:all AS text[])) AS words"
)


class Alternative(NamedTuple):
    """Words and phrases that must occur, and others that must not."""

    required: list[str]
    excluded: list[str]


class Search:
    """A search: each word and "phrase" must occur, `-` excludes one, `OR` separates alternatives.

    Raises:
        QueryError: the text is too long, or an alternative has no word that must occur.

    """

    def __init__(self, words: str) -> None:
        if len(words) > LONGEST:
            raise QueryError(f"search: the text has {len(words):,} characters; shorten it to {LONGEST}")
        if any("\ud800" <= one <= "\udfff" for one in words):
            raise QueryError("search: the text is not valid UTF-8")
        self._alternatives = _split(words.replace("\0", " "))
        if not all(one.required for one in self._alternatives):
            raise QueryError(f"search: {words!r} has no word that must occur; write one without -")

    def to_condition(self, connection: Connection) -> ColumnElement[bool]:
        """Return the condition that the narrative of a row of `complaints` matches.

        Raises:
            SettingError: the database has no index over the narratives.
            QueryError: all words are too common for PostgreSQL.

        """
        if not has_index(connection):
            raise SettingError(
                "search: the narratives are not indexed; set [storage] full_text=true, "
                "and the next merge creates the index"
            )
        if connection.dialect.name == "postgresql":
            self._check_in_postgres(connection)
            query = func.websearch_to_tsquery(literal_column("'english'"), self._for_postgres())
            return literal_column(WORDS).bool_op("@@")(query)
        is_found = literal_column("narratives").bool_op("MATCH")(self._for_sqlite())
        found = select(column("rowid", ComplaintId)).select_from(table("narratives")).where(is_found)
        return complaints.c.complaint_id.in_(found)

    def _check_in_postgres(self, connection: Connection) -> None:
        """Check that each alternative has a word that PostgreSQL does not ignore."""
        required = [" ".join(map(_quote, one.required)) for one in self._alternatives]
        if not connection.scalar(_FEWEST_WORDS, {"all": required}):
            raise QueryError("search: PostgreSQL ignores common words such as 'the'; add another word")

    def _for_postgres(self) -> str:
        """Return the search as `websearch_to_tsquery` reads it."""
        return " or ".join(
            " ".join([*map(_quote, one.required), *(f"-{_quote(word)}" for word in one.excluded)])
            for one in self._alternatives
        )

    def _for_sqlite(self) -> str:
        """Return the search as FTS5 reads it; quoted, no word is an operator."""
        return " OR ".join(
            f"({' AND '.join(map(_quote, one.required))}"
            f"{''.join(f' NOT {_quote(word)}' for word in one.excluded)})"
            for one in self._alternatives
        )


def _split(words: str) -> list[Alternative]:
    alternatives = [Alternative([], [])]
    for minus, phrase, word in _PIECE.findall(words):
        if word.lower() == "or" and not minus:
            alternatives.append(Alternative([], []))
        elif any(map(str.isalnum, phrase or word)):
            one = alternatives[-1]
            (one.excluded if minus else one.required).append(phrase or word)
    return list(filter(any, alternatives)) or alternatives[:1]


def _quote(words: str) -> str:
    return f'"{words}"'  # the words have no quotation marks
