"""The failures this project expects, each told in one line a person can act on.

Two questions decide the class: may the same request succeed a little later
(`TransientError`), or must a person change something first (`PermanentError`)?
Anything else that is raised is a bug and keeps its traceback.
"""

from pathlib import Path

from luigi_etl.common.terminal import one_line

USAGE_ERROR = 2  # the exit code for what can't be used, as argparse has it


class EtlError(Exception):
    """An expected failure; its text is one line that names the thing, what happened and what to do.

    Whatever stands in it, of a server, a file's name or a database, its text can be displayed.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class TransientError(EtlError):
    """A failure that may pass by itself: worth trying again.

    `retry_after` is the least number of seconds to wait, as the server asked (RFC 9110, 10.2.3).
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(EtlError):
    """A failure that stays until a person changes something: trying again is of no use."""


class QueryError(PermanentError, ValueError):
    """A query that the API would refuse or, worse, silently misread."""


class SettingError(PermanentError, ValueError):
    """A setting whose value can't be used."""


class RefusedError(PermanentError):
    """The API answered that it will not serve this request (400, 403, 404, a web page, ...)."""


class HeldBackError(PermanentError):
    """A conclusion that is implausible: it waits for a person, or for a later day that confirms it."""


class DriftError(PermanentError):
    """The API's complaints have another form than today's: all that can be read was kept."""


class StorageError(PermanentError):
    """A file that can't be written: no room, no right, no folder."""


class LocksUnsupportedError(StorageError):
    """A file system that can't lock files."""


class DamagedFileError(PermanentError):
    """A file of a snapshot that is not what its task wrote."""

    @classmethod
    def of(cls, path: Path, problem: str | Exception, again: str = "") -> "DamagedFileError":
        """Return the error for a file; `again` is what a run does once the file is deleted."""
        what = problem if isinstance(problem, str) else f"is damaged ({problem})"
        remedy = f"; delete it to {again}" if again else ""
        return cls(f"{path} {what}{remedy}")


class CrontabError(PermanentError):
    """The user's crontab can't be read, or not be written, or its marks don't pair."""


class DatabaseError(PermanentError):
    """The database can't be used as it is configured."""


class SchemaError(DatabaseError):
    """The database's tables are not those this version makes."""


class NoDatabaseError(DatabaseError):
    """There is no database yet, or nothing in it."""


class DatabaseUnavailableError(TransientError):
    """The database does not answer, or others hold it."""
