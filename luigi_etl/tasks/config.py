"""The settings, as sections of Luigi's configuration, and the parameters that check what they are given.

A value from the command line, luigi.cfg or the environment that can't be used ends the program as argparse
does: one line, exit code 2, before anything is scheduled. From Python it raises a `ValueError`.
"""

import contextlib
import logging
import math
import os
import re
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import luigi

from luigi_etl.api.query import parse_query
from luigi_etl.api.settings import API, LARGEST_PAGE, MAXIMUM_CLOCK_SKEW, Settings
from luigi_etl.common.errors import SettingError
from luigi_etl.common.minutes import as_parameter, read_parameter
from luigi_etl.tasks.startup import refuse, set_up

if TYPE_CHECKING:
    from luigi_etl.snapshot.guard import Guard

MOST_DAYS = 36_500
FIRST_YEAR = 1000  # earlier ones have names of fewer digits on some systems

T = TypeVar("T")
logger = logging.getLogger("luigi_etl")

set_up()


class _Checked(luigi.Parameter[T]):
    """A parameter that checks its value where it is given."""

    def parse(self, x: str) -> T:
        """Read the value from text, or end the program with one line."""
        try:
            return self.normalize(self._read(x))
        except ValueError as error:
            refuse(str(error))

    def normalize(self, x: Any) -> T:
        """Check the value and bring it to its one form.

        Raises:
            ValueError: it can't be used.

        """
        raise NotImplementedError

    def _read(self, text: str) -> Any:
        return text

    def _wrong(self, value: object, expected: str) -> SettingError:
        return SettingError(f"{self._attribute_name}: {value!r} is not {expected}")


class QueryParameter(_Checked[str]):
    """A query string or an address of the search page, brought to its one spelling."""

    def normalize(self, x: Any) -> str:
        """Return the one spelling of the query."""
        return str(parse_query(x))

    def _read(self, text: str) -> str:
        for note in parse_query(text).notes:
            logger.warning("query: %s", note)
        return text


class TimestampParameter(_Checked[datetime], luigi.DateMinuteParameter):
    """A minute, UTC: `2026-01-02T0304`. In Python a naive datetime, or an aware one of any zone."""

    def normalize(self, x: Any) -> datetime:
        """Return the minute, naive UTC."""
        if not isinstance(x, datetime):
            raise self._wrong(x, "a minute written as 2026-01-02T0304")
        moment = x if x.tzinfo is None else x.astimezone(timezone.utc).replace(tzinfo=None)
        if moment.year < FIRST_YEAR:
            raise self._wrong(
                f"{x.isoformat(timespec='minutes')}", f"a minute of the year {FIRST_YEAR} or later"
            )
        return moment.replace(second=0, microsecond=0)

    def _read(self, text: str) -> datetime:
        try:
            moment = read_parameter(text)
        except ValueError:
            raise self._wrong(text, "a minute (UTC) written as 2026-01-02T0304") from None
        if moment > this_minute() + MAXIMUM_CLOCK_SKEW:
            raise self._wrong(text, f"in the past; now it is {as_parameter(this_minute())} UTC")
        return moment


def this_minute() -> datetime:
    """Return the present minute, naive UTC."""
    return datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)


class WholeNumberParameter(_Checked[int]):
    """A whole number from `minimum` to `maximum`."""

    def __init__(self, default: int, minimum: int, maximum: float = math.inf, description: str = "") -> None:
        super().__init__(default=default, description=description)
        self._range = (minimum, maximum)

    def normalize(self, x: Any) -> int:
        """Return the number."""
        minimum, maximum = self._range
        if isinstance(x, bool) or not isinstance(x, int) or not minimum <= x <= maximum:
            upper = "up" if maximum == math.inf else f"to {maximum}"
            raise self._wrong(x, f"a whole number from {minimum} {upper}")
        return x

    def _read(self, text: str) -> int | str:
        try:
            return int(text)
        except ValueError:
            return text


class SecondsParameter(_Checked[float]):
    """A time in seconds, 0 or more; `positive`: more than 0."""

    def __init__(self, default: float, *, positive: bool = False, description: str = "") -> None:
        super().__init__(default=default, description=description)
        self._positive = positive

    def normalize(self, x: Any) -> float:
        """Return the number of seconds."""
        if isinstance(x, bool) or not isinstance(x, (int, float)) or not 0 <= x < math.inf:
            raise self._wrong(x, "a number of seconds")
        if self._positive and x == 0:
            raise self._wrong(x, "a number of seconds above 0")
        return float(x)

    def _read(self, text: str) -> float | str:
        try:
            return float(text)
        except ValueError:
            return text


class PercentParameter(SecondsParameter):
    """A share in percent, from 0 to 100."""

    def __init__(self, default: float, description: str = "") -> None:
        super().__init__(default, description=description)

    def normalize(self, x: Any) -> float:
        """Return the share."""
        if isinstance(x, bool) or not isinstance(x, (int, float)) or not 0 <= x <= 100:
            raise self._wrong(x, "a share in percent, from 0 to 100")
        return float(x)


class SwitchParameter(luigi.BoolParameter):
    """A setting that is true or false."""

    def parse(self, x: Any) -> bool:
        """Read the value, or end the program with one line."""
        try:
            return bool(super().parse(x))  # type: ignore[no-untyped-call]
        except ValueError:
            refuse(f"{self._attribute_name}: {x!r} is neither true nor false")


class DayParameter(_Checked[date | None]):
    """A day, UTC, up to today: `2026-11-22`; None, in text nothing, where none is given."""

    def __init__(self, description: str = "") -> None:
        super().__init__(default=None, description=description)

    def normalize(self, x: Any) -> date | None:
        """Return the day."""
        if x is None or x == "":
            return None
        day = x
        if isinstance(x, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", x):
            with contextlib.suppress(ValueError):
                day = date.fromisoformat(x)
        if not isinstance(day, date) or isinstance(day, datetime):
            raise self._wrong(x, "a day (UTC) written as 2026-11-22")
        if day > this_minute().date():
            raise self._wrong(x, f"in the past; today is {this_minute():%Y-%m-%d} UTC")
        return day

    def serialize(self, x: date | None) -> str:
        """Return the day as text."""
        return x.isoformat() if x else ""


class TextParameter(_Checked[str]):
    """A text that `check` accepts."""

    def __init__(self, default: str, check: Callable[[str], str], description: str = "") -> None:
        super().__init__(default=default, description=description)
        self._check = check

    def normalize(self, x: Any) -> str:
        """Return the text."""
        return self._check(x)


class AddressParameter(TextParameter):
    """The address of the API; its default is the environment's, if that names one."""

    def __init__(self, description: str) -> None:
        super().__init__(os.environ.get("CCDB_URL") or API, _web_address, description)

    def task_value(self, task_name: str, param_name: str) -> str:
        """Return the address, or end the program: a default is not parsed, where others are refused."""
        try:
            value: str = super().task_value(task_name, param_name)  # type: ignore[no-untyped-call]
        except SettingError as error:
            refuse(f"CCDB_URL in the environment, for {error}")
        return value


def _web_address(text: str) -> str:
    if "@" in text:  # refused before anything of it is quoted
        raise SettingError("[ccdb] url: it must hold no user name, password or @: it is logged and stored")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isascii() or any(character.isspace() for character in text):
        raise SettingError(f"[ccdb] url: {text!r} is not a web address, such as {API}")
    if parts.query or parts.fragment:
        raise SettingError(f"[ccdb] url: {text!r} must not hold a query; that is the parameter query")
    return text


def _header_value(text: str) -> str:
    if not text.isascii() or not (text.isprintable() and text == text.strip()):
        raise SettingError(f"[ccdb] user_agent: {text!r} can't be sent in an HTTP header")
    return text


def _known_columns(text: str) -> str:
    from luigi_etl.snapshot.columns import parse_columns

    parse_columns(text)
    return text


def _any_text(text: str) -> str:
    return text


def _folder(setting: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not text.strip() or "\0" in text:
            raise SettingError(f"{setting}: {text!r} is not a folder")
        return text

    return check


_LIBPQ = re.compile(r"\b(host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*=", re.ASCII)


def _database(text: str) -> str:
    if "\0" in text:
        raise SettingError(f"[storage] database: {text!r} is not a file")
    if "://" not in text:
        if _LIBPQ.search(text):  # refused without a word of it: a password may be in it
            raise SettingError(
                "[storage] database: a libpq connection string (host=... dbname=...) can't be used; "
                "write it as postgresql://USER@HOST:PORT/NAME"
            )
        return text
    try:
        parts = urlsplit(text)
        has_password = bool(parts.password) or any("password" in name for name in parse_qs(parts.query))
    except ValueError as error:
        raise SettingError(f"[storage] database: it is not an address: {error}") from None
    if has_password:
        raise SettingError(
            "[storage] database: a password does not belong here; keep it in ~/.pgpass or $PGPASSWORD"
        )
    if parts.scheme.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
        raise SettingError(
            "[storage] database: it is neither a file nor sqlite:///FILE nor postgresql://HOST/NAME"
        )
    return text


def _command(text: str) -> str:
    if not text:
        return text
    import shlex

    try:
        return text if shlex.split(text) else ""
    except ValueError as error:
        raise SettingError(f"[service] notify: it is not a command: {error}") from None


_DEFAULT = Settings()


class ccdb(luigi.Config):  # noqa: N801  # the name of the section
    """How to talk to the API. `CCDB_URL` in the environment stands in for the default address."""

    url = AddressParameter("address of the API")
    requests_per_minute = WholeNumberParameter(
        _DEFAULT.requests_per_minute, 0, description="pace; 0 = no limit"
    )
    page_size = WholeNumberParameter(_DEFAULT.page_size, 1, LARGEST_PAGE, "complaints per request")
    user_agent = TextParameter(_DEFAULT.user_agent, _header_value, "User-Agent; empty = the library's own")
    connect_timeout = SecondsParameter(
        _DEFAULT.connect_timeout, positive=True, description="longest wait for a connection"
    )
    read_timeout = SecondsParameter(
        _DEFAULT.read_timeout, positive=True, description="longest silence in an answer"
    )
    deadline = SecondsParameter(_DEFAULT.deadline, description="longest walk, of each attempt; 0 = no limit")
    backoff = SecondsParameter(
        _DEFAULT.backoff, description="wait before the first of 3 short retries, then doubled"
    )
    retries = WholeNumberParameter(10, 0, description="further attempts after a passing failure")
    retry_delay = SecondsParameter(30, description="wait between attempts")
    pace_file = TextParameter("", _any_text, "file that counts requests; empty = in the user's cache folder")

    def settings(self) -> Settings:
        """Return the settings of the client."""
        return Settings(
            url=self.url,
            requests_per_minute=self.requests_per_minute,
            page_size=self.page_size,
            user_agent=self.user_agent,
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            deadline=self.deadline,
            backoff=self.backoff,
            pace_file=Path(self.pace_file).expanduser() if self.pace_file else None,
        )


class guard(luigi.Config):  # noqa: N801  # the name of the section
    """When a run takes what it reads for a fault of its source, and holds its conclusions back."""

    lost_percent = PercentParameter(5, "a loss of more of the complaints that were there is implausible")
    lost_complaints = WholeNumberParameter(100, 0, description="losses up to this are plausible")
    rejected_percent = PercentParameter(1, "of a run's hits: more that are no valid complaints fail the run")
    expected_fields = TextParameter(
        "", _any_text, "fields, comma-separated, that may be missing or new without failing the run"
    )
    accept = SwitchParameter(description="believe what was held back")

    def limits(self) -> "Guard":
        """Return the settings as a record."""
        from luigi_etl.snapshot.guard import Guard

        fields = filter(None, map(str.strip, self.expected_fields.split(",")))
        return Guard(
            self.lost_percent, self.lost_complaints, self.rejected_percent, frozenset(fields), self.accept
        )


class storage(luigi.Config):  # noqa: N801  # the name of the section
    """Where the files go, and what the CSV holds."""

    root = TextParameter(
        "data", _folder("[storage] root"), "folder of all files; relative to the working directory"
    )
    columns = TextParameter(
        "", _known_columns, "columns of the CSV by API name, comma-separated; empty = the CFPB's"
    )
    database = TextParameter(
        "", _database, "SQLite file, or postgresql://HOST/NAME; empty = complaints.db in the root"
    )

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.root).expanduser()

    @property
    def database_address(self) -> Path | str:
        """The file of the database, or its URL."""
        if "://" in self.database:
            return self.database
        return Path(self.database).expanduser() if self.database else self.path / "complaints.db"


class service(luigi.Config):  # noqa: N801  # the name of the section
    """What runs that nobody watches leave, and whom they tell."""

    folder = TextParameter(
        "service", _folder("[service] folder"), "logs, locks, luigid's state; relative as root"
    )
    notify = TextParameter(
        "", _command, "command that gets the message on stdin; empty = stderr, for cron to mail"
    )
    metrics = TextParameter("", _any_text, "node_exporter's textfile folder; empty = no metrics")

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder).expanduser()

    @property
    def metrics_folder(self) -> Path | None:
        """The folder for metrics, if there is to be any."""
        return Path(self.metrics).expanduser() if self.metrics else None
