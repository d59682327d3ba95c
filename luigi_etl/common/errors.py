"""Expected failures, each with a one-line message that a person can act on.

After a `TransientError` a retry may succeed; after a `PermanentError` a person must change something first.
Any other exception is a bug and keeps its traceback.
"""

from pathlib import Path

from luigi_etl.common.terminal import one_line

USAGE_ERROR = 2  # the exit code of argparse


class EtlError(Exception):
    """An expected failure; its text is one line: where, what happened, what to do.

    A terminal can display the text, even if it quotes a server, a file name or a database.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class TransientError(EtlError):
    """A temporary failure: a retry may succeed.

    `retry_after` is the minimum wait in seconds that the server asks for (RFC 9110, 10.2.3).
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(EtlError):
    """A failure that lasts until a person changes something: a retry is useless."""


class QueryError(PermanentError, ValueError):
    """A query that the API would refuse or silently misread."""


class SettingError(PermanentError, ValueError):
    """A setting with an invalid value."""


class RefusedError(PermanentError):
    """A request that the API refuses (400, 403, 404, a web page, ...)."""


class HeldBackError(PermanentError):
    """An implausible conclusion, held back until a person or a later day confirms it."""


class DriftError(PermanentError):
    """A schema drift of the API's complaints; every valid complaint was kept."""


class StorageError(PermanentError):
    """A file that can't be written: no space, no permission, no folder."""


class LocksUnsupportedError(StorageError):
    """A file system that can't lock files."""


class DamagedFileError(PermanentError):
    """A file that is missing or damaged."""

    @classmethod
    def of(cls, path: Path, problem: str | Exception, again: str = "") -> "DamagedFileError":
        """Return the error for a file; `again` ends the advice 'delete it to ...'."""
        what = problem if isinstance(problem, str) else f"is damaged ({problem})"
        remedy = f"; delete it to {again}" if again else ""
        return cls(f"{path} {what}{remedy}")


class FileFormatError(PermanentError):
    """A complaint file that can't be imported as a whole."""


class CrontabError(PermanentError):
    """A crontab that can't be read or written, or whose markers don't pair."""


class DatabaseError(PermanentError):
    """A database that can't be used as configured."""


class SchemaError(DatabaseError):
    """A database whose tables differ from those of this version."""


class NoDatabaseError(DatabaseError):
    """A missing or empty database."""


class DatabaseUnavailableError(TransientError):
    """A database that does not answer, or that others have locked."""
