"""Luigi parameters that check their values.

An invalid value from the command line, luigi.cfg or the environment ends the program as argparse does: one
line, exit code 2, before anything is scheduled. An invalid value from Python raises a `ValueError`.
"""

import contextlib
import logging
import math
import os
import re
import stat
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import luigi

from luigi_etl.api.query import parse_query
from luigi_etl.api.settings import DAILY_FILE, MAXIMUM_CLOCK_SKEW
from luigi_etl.common.errors import SettingError
from luigi_etl.common.minutes import as_parameter, read_parameter, this_minute
from luigi_etl.tasks.setting_checks import check_file_address
from luigi_etl.tasks.startup import refuse

MOST_DAYS = 36_500
FIRST_YEAR = 1000  # some systems write earlier years with fewer than four digits

T = TypeVar("T")
logger = logging.getLogger("luigi_etl")


class _Checked(luigi.Parameter[T]):
    """A parameter that checks its value."""

    def parse(self, x: str) -> T:
        """Parse the value, or end the program with one line."""
        try:
            return self.normalize(self._read(x))
        except ValueError as error:
            refuse(str(error))

    def normalize(self, x: Any) -> T:
        """Check the value, and return it in its canonical form.

        Raises:
            ValueError: the value is invalid.

        """
        raise NotImplementedError

    def _read(self, text: str) -> Any:
        return text

    def _wrong(self, value: object, expected: str) -> SettingError:
        return SettingError(f"{self._attribute_name}: {value!r} is not {expected}")


class QueryParameter(_Checked[str]):
    """A query string or an address of the search page, in canonical spelling."""

    def normalize(self, x: Any) -> str:
        """Return the canonical spelling of the query."""
        return str(parse_query(x))

    def _read(self, text: str) -> str:
        for note in parse_query(text).notes:
            logger.warning("query: %s", note)
        return text


class TimestampParameter(_Checked[datetime], luigi.DateMinuteParameter):
    """A minute (UTC): `2026-01-02T0304`; in Python a naive datetime, or an aware one of any zone."""

    def normalize(self, x: Any) -> datetime:
        """Return the minute (naive UTC)."""
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


class OptionalTimestampParameter(TimestampParameter):
    """A minute (UTC), or None, as text empty: the default."""

    def __init__(self, description: str) -> None:
        super().__init__(default=None, description=description)  # type: ignore[arg-type]  # Luigi allows None

    def normalize(self, x: Any) -> Any:
        """Return the minute (naive UTC) or None."""
        return None if x is None or x == "" else super().normalize(x)

    def serialize(self, x: datetime | None) -> str:
        """Return the minute as text."""
        return as_parameter(x) if x else ""

    def _read(self, text: str) -> Any:
        return super()._read(text) if text else None


def is_address(file: str) -> bool:
    """Return whether the value of a `FileParameter` is a web address, not a path."""
    return "://" in file


def find_path(file: str) -> Path:
    """Return the path that the value of a `FileParameter` names; `~` is a home folder."""
    path = Path(file)
    with contextlib.suppress(RuntimeError):  # there is no such user
        return path.expanduser()
    return path


def _is_file(path: Path) -> bool:
    """Return whether a path is a regular file; unlike `Path.is_file`, never raise an `OSError`."""
    with contextlib.suppress(OSError):
        return stat.S_ISREG(path.stat().st_mode)
    return False


class FileParameter(_Checked[str]):
    """The path of a file, or its web address."""

    def __init__(self, description: str) -> None:
        super().__init__(default="", description=description)

    def normalize(self, x: Any) -> str:
        """Return the path as text."""
        text = str(x)
        if "\0" in text:
            raise self._wrong(text, "a file")
        if is_address(text):
            return check_file_address(self._attribute_name, text, DAILY_FILE)
        return text

    def task_value(self, task_name: str, param_name: str) -> str:
        """Return the value from luigi.cfg, or end the program: there is no default."""
        value: str = super().task_value(task_name, param_name)  # type: ignore[no-untyped-call]
        return value or refuse(f"{param_name}: name the file: --{param_name} PATH or ADDRESS")

    def _read(self, text: str) -> str:
        self.normalize(text)
        if not is_address(text) and not _is_file(find_path(text)):
            raise self._wrong(text, "a file that can be read; name a regular file, no folder, pipe or device")
        return text


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
    """A number of seconds: 0 or more, or more than 0 if `positive`."""

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
    """A percentage from 0 to 100."""

    def __init__(self, default: float, description: str = "") -> None:
        super().__init__(default, description=description)

    def normalize(self, x: Any) -> float:
        """Return the percentage."""
        if isinstance(x, bool) or not isinstance(x, (int, float)) or not 0 <= x <= 100:
            raise self._wrong(x, "a percentage from 0 to 100")
        return float(x)


class SwitchParameter(luigi.BoolParameter):
    """A setting that is true or false."""

    def parse(self, x: Any) -> bool:
        """Parse the value, or end the program with one line."""
        try:
            return bool(super().parse(x))  # type: ignore[no-untyped-call]
        except ValueError:
            refuse(f"{self._attribute_name}: {x!r} is neither true nor false")


class DayParameter(_Checked[date | None]):
    """A day (UTC) up to today: `2026-11-22`; None, as text empty, is the default."""

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
    """An address of the CFPB; an environment variable is the default if it is set."""

    def __init__(
        self, variable: str, default: str, check: Callable[[str], str], description: str = ""
    ) -> None:
        super().__init__(os.environ.get(variable) or default, check, description)
        self._variable = variable

    def task_value(self, task_name: str, param_name: str) -> str:
        """Return the address, or end the program: Luigi does not parse a default."""
        try:
            value: str = super().task_value(task_name, param_name)  # type: ignore[no-untyped-call]
        except SettingError as error:
            refuse(f"{self._variable} in the environment, for {error}")
        return value
