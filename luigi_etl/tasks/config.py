"""The sections of luigi.cfg with their settings."""

from pathlib import Path
from typing import TYPE_CHECKING

import luigi

from luigi_etl.api.settings import API, ARCHIVE, DAILY_FILE, LARGEST_PAGE, Settings
from luigi_etl.snapshot.guard import Guard
from luigi_etl.tasks.parameters import (
    AddressParameter,
    PercentParameter,
    SecondsParameter,
    SwitchParameter,
    TextParameter,
    WholeNumberParameter,
)
from luigi_etl.tasks.setting_checks import (
    accept_any_text,
    check_archive,
    check_columns,
    check_command,
    check_daily_file,
    check_database,
    check_header_value,
    check_web_address,
    folder_check,
)
from luigi_etl.tasks.startup import set_up

if TYPE_CHECKING:
    from luigi_etl.database.connection import Database

set_up()

_DEFAULT = Settings()
_LIMITS = Guard()


class ccdb(luigi.Config):  # noqa: N801  # the name of the section
    """Access to the CFPB; `$CCDB_URL`, `$CCDB_DAILY_FILE` and `$CCDB_ARCHIVE` replace the addresses."""

    url = AddressParameter("CCDB_URL", API, check_web_address, "address of the API")
    daily_file = AddressParameter(
        "CCDB_DAILY_FILE", DAILY_FILE, check_daily_file, "address of the file with every complaint"
    )
    archive = AddressParameter(
        "CCDB_ARCHIVE", ARCHIVE, check_archive, "address of the page of the narratives archive"
    )
    requests_per_minute = WholeNumberParameter(
        _DEFAULT.requests_per_minute, 0, description="rate limit; 0 = none"
    )
    page_size = WholeNumberParameter(_DEFAULT.page_size, 1, LARGEST_PAGE, "complaints per request")
    user_agent = TextParameter(
        _DEFAULT.user_agent, check_header_value, "User-Agent; empty = the library's own"
    )
    connect_timeout = SecondsParameter(
        _DEFAULT.connect_timeout, positive=True, description="longest wait for a connection"
    )
    read_timeout = SecondsParameter(
        _DEFAULT.read_timeout, positive=True, description="longest pause within a response"
    )
    deadline = SecondsParameter(_DEFAULT.deadline, description="longest duration of an attempt; 0 = no limit")
    backoff = SecondsParameter(
        _DEFAULT.backoff, description="wait before the first of 3 short retries, then doubled"
    )
    retries = WholeNumberParameter(10, 0, description="retries after a temporary failure")
    retry_delay = SecondsParameter(30, description="wait before a retry")
    pace_file = TextParameter(
        "", accept_any_text, "file that counts requests; empty = in the user's cache folder"
    )

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
    """Limits above which a run holds its conclusions back, because the source seems faulty."""

    lost_percent = PercentParameter(_LIMITS.lost_percent, "a larger loss of known complaints is implausible")
    lost_complaints = WholeNumberParameter(
        _LIMITS.lost_complaints, 0, description="losses up to this number are plausible"
    )
    rejected_percent = PercentParameter(
        _LIMITS.rejected_percent, "a larger share of invalid hits fails a run"
    )
    expected_fields = TextParameter(
        "", accept_any_text, "fields, comma-separated, that may be missing or new without failing the run"
    )
    accept = SwitchParameter(description="accept conclusions that were held back")

    def limits(self) -> Guard:
        """Return the settings as a record."""
        fields = filter(None, map(str.strip, self.expected_fields.split(",")))
        return Guard(
            self.lost_percent, self.lost_complaints, self.rejected_percent, frozenset(fields), self.accept
        )


class storage(luigi.Config):  # noqa: N801  # the name of the section
    """Files, database, and columns of the CSV."""

    root = TextParameter(
        "data", folder_check("[storage] root"), "folder of all files; relative to the working directory"
    )
    columns = TextParameter(
        "", check_columns, "columns of the CSV by API name, comma-separated; empty = the CFPB's"
    )
    database = TextParameter(
        "", check_database, "SQLite file, or postgresql://HOST/NAME; empty = complaints.db in the root"
    )
    full_text = SwitchParameter(description="index the narratives for `luigi-etl export --search`")

    @property
    def path(self) -> Path:
        """The root folder."""
        return Path(self.root).expanduser()

    @property
    def database_address(self) -> Path | str:
        """The path or the URL of the database."""
        if "://" in self.database:
            return self.database
        return Path(self.database).expanduser() if self.database else self.path / "complaints.db"

    def open_database(self) -> "Database":
        """Return the database for a task that writes it."""
        from luigi_etl.database.connection import Database

        return Database(self.database_address, full_text=self.full_text)


class service(luigi.Config):  # noqa: N801  # the name of the section
    """Logs, messages and metrics of unattended runs."""

    folder = TextParameter(
        "service",
        folder_check("[service] folder"),
        "logs, locks, luigid's state; relative to the working directory",
    )
    notify = TextParameter(
        "", check_command, "command that reads a message from stdin; empty = stderr, which cron mails"
    )
    metrics = TextParameter("", accept_any_text, "node_exporter's textfile folder; empty = no metrics")

    @property
    def path(self) -> Path:
        """The folder of the service."""
        return Path(self.folder).expanduser()

    @property
    def metrics_folder(self) -> Path | None:
        """The folder of the metrics, or None."""
        return Path(self.metrics).expanduser() if self.metrics else None
