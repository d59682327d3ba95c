"""What a broken installation gets wrong: the checks, each with its remedy."""

import contextlib
import glob
import io
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import luigi
from luigi.parameter import ParameterException
from luigi.task_register import Register
from sqlalchemy import Connection

from luigi_etl import define
from luigi_etl.api.client import Client
from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
from luigi_etl.common.errors import EtlError, NoDatabaseError, TransientError
from luigi_etl.common.luigi_cfg import without_values
from luigi_etl.common.minutes import as_parameter, as_text, this_minute
from luigi_etl.common.terminal import counted, one_line
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import covered
from luigi_etl.database.covered_days import CoveredRange, ranges
from luigi_etl.database.damage import find_missing
from luigi_etl.database.rows import count_complaints
from luigi_etl.database.schema import RESTORE
from luigi_etl.service.crontab import call, find_checkout, installed_block, read_crontab
from luigi_etl.service.listeners import IS_LISTED, Listener, listeners, local_addresses
from luigi_etl.service.luigid import Address, address, problem_of
from luigi_etl.service.run_history import TROUBLE, Run, newest_of_each, newest_run, options_of
from luigi_etl.service.status import count_held
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.guard import RELEASE
from luigi_etl.snapshot.leftovers import killed_redos, leftovers
from luigi_etl.snapshot.paths import is_of_syncs, latest_folder
from luigi_etl.tasks.config import ccdb, service, storage
from luigi_etl.tasks.future_minutes import find_later_in_database, latest_warning, remedy
from luigi_etl.tasks.startup import READ_BY_LUIGI

LEAST_ROOM = 1_000_000_000  # bytes
LEAST_FILES = 100_000  # inodes: a week of one query's minutes
LATEST = timedelta(minutes=10)
MOST_RANGES = 5  # of the database's coverage
DAY = timedelta(days=1)
PATIENCE = 90.0  # seconds for the one request, the wait for its turn (at most 61) included
SENDMAIL_FOLDERS = "/usr/sbin:/usr/lib"  # where cron looks for it
CRON_DAEMONS = {"cron", "crond"}


@dataclass(frozen=True)
class Finding:
    """What a check found: whether it is well, and in one line what is so and, if not well, what to do."""

    check: str
    well: bool
    message: str


def examine() -> Iterator[Finding]:
    """Make every check, one after the other; each finds at least one thing."""
    for name, check in CHECKS.items():
        for finding in _findings(check):
            yield replace(finding, check=name, message=one_line(finding.message))


def _findings(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return what a check finds; whatever stops it comes last, and stops no other."""
    found = []
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # where `refuse` tells of a setting
            for finding in check():
                found.append(finding)  # what was found before a failure stays
    except EtlError as error:
        found.append(_ill(str(error)))
    except OSError as error:
        found.append(_ill(f"{error.strerror or error} ({error.filename}): give access to it"))
    except (ValueError, RuntimeError, ParameterException, SystemExit) as error:  # of a setting
        reason = _reason(said, error)
        found.append(_ill(f"this can't be checked ({reason}): correct luigi.cfg or the environment"))
    return found


def _reason(said: io.StringIO, error: BaseException) -> str:
    refused = said.getvalue().removeprefix("luigi: error: ").strip()
    return refused or without_values(error) or type(error).__name__


def _well(message: str) -> Finding:
    return Finding("", True, message)


def _ill(message: str) -> Finding:
    return Finding("", False, message)


# --- the configuration ---------------------------------------------------------------------------


def _configuration() -> Iterator[Finding]:
    path = Path(os.environ.get("LUIGI_CONFIG_PATH") or "luigi.cfg")
    if not path.is_file():
        yield _ill(f"{path.absolute()} is not there: run this in the folder of luigi.cfg")
        return
    define()
    unread, unusable = list(_settings_nobody_reads()), list(_settings_of_no_use())
    yield from (_ill(f"{path}: {setting}, which nobody reads: correct or remove it") for setting in unread)
    yield from (_ill(f"{path}: {setting}: correct it") for setting in unusable)
    if not unread and not unusable:
        yield _well(f"{path.absolute()}, every setting of it known")


def _settings_nobody_reads() -> Iterator[str]:
    """Name the settings Luigi would warn of, and the sections it would pass over in silence."""
    configuration = luigi.configuration.get_config()
    for section in configuration.sections():
        if section not in Register.task_names():
            if section not in ("logging", "email", "retcode"):
                yield f"[{section}]"
            continue
        family = Register.get_task_cls(section)
        known = {name for name, _ in family.get_params()} | getattr(family, "ignore_unconsumed", set())
        known |= READ_BY_LUIGI if section == "core" else set()
        yield from (
            f"[{section}] {name}" for name in configuration[section] if name.replace("-", "_") not in known
        )


def _settings_of_no_use() -> Iterator[str]:
    """Name the settings whose values can't be used, with the reason."""
    configuration = luigi.configuration.get_config()
    for section in set(configuration.sections()) & set(Register.task_names()):
        for name, parameter in Register.get_task_cls(section).get_params():
            if not configuration.has_option(section, name):
                continue
            said = io.StringIO()
            try:
                with contextlib.redirect_stderr(said):
                    parameter.parse(configuration.get(section, name))
            except (Exception, SystemExit) as error:
                yield f"[{section}] {name} can't be used ({_reason(said, error)})"


# --- what has to run -----------------------------------------------------------------------------


def _luigid() -> Iterator[Finding]:
    luigid = address()
    if problem := problem_of(luigid):
        yield _ill(f"{problem}: {_remedy_for_luigid(luigid, problem)}; until then runs go without")
        return
    if not local_addresses(luigid.host, luigid.port):
        yield _well(f"luigid answers at {luigid}, on another machine: whose it is can't be checked")
        return
    open_to = sorted({_interface(one) for one in _listeners(luigid.port) if not one.is_loopback})
    if open_to:
        yield _ill(
            f"luigid at port {luigid.port} lets other machines in (bound to {', '.join(open_to)}): "
            "stop it and start it with `luigi-etl luigid`"
        )
    else:
        yield _well(f"luigid answers at {luigid}, on loopback only")


def _remedy_for_luigid(luigid: Address, problem: str) -> str:
    if "not answer" in problem and not any(_listeners(luigid.port)):
        return "start it with `luigi-etl luigid`"
    return "stop what listens there, or set [core] scheduler_port, then start it with `luigi-etl luigid`"


def _listeners(port: int) -> list[Listener]:
    return list(listeners(port)) if IS_LISTED else []


def _interface(listener: Listener) -> str:
    return "every interface" if listener.is_open_to_all else str(listener)


def _cron() -> Iterator[Finding]:
    if not cron_daemons():
        yield _ill(
            "no cron daemon runs: install and start it (Debian: apt install cron; systemctl start cron)"
        )
    checkout = find_checkout()
    block = installed_block(read_crontab(), checkout)
    here = Path.cwd()
    if not os.environ.get("LUIGI_CONFIG_PATH") and here != checkout:
        yield _ill(
            f"cron's lines are for {checkout}, not for {here}: run this there, or install luigi_etl from here"
        )
        return
    jobs = [line for line in block.split(b"\n") if line.strip() and not line.lstrip().startswith(b"#")]
    wanted = os.fsencode(call(checkout, sys.executable)) + b" "
    if not jobs:
        yield _ill(f"your crontab holds nothing for {checkout}: run `luigi-etl crontab --install`")
    elif not any(wanted in job for job in jobs):
        yield _ill(
            f"your crontab runs {checkout} with another Python than {sys.executable}: if that is not "
            "meant, run `luigi-etl crontab --install` (with your --query again)"
        )
    else:
        yield _well(f"your crontab runs {checkout}")


def cron_daemons() -> set[str]:
    """Return the names of the cron daemons that run (Linux)."""
    names = set()
    for process in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            names.add(os.fsdecode(process.read_bytes()).strip())
    return names & CRON_DAEMONS


# --- the disk, the clock, the API ----------------------------------------------------------------


def _folders() -> Iterator[Finding]:
    for setting, folder in (("[storage] root", storage().path), ("[service] folder", service().path)):
        there = next(
            path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path)
        )
        problem = _problem_of(there)
        if problem:
            yield _ill(f"{setting}, {folder.absolute()}: {problem}")
        else:
            free = shutil.disk_usage(there).free / 1e9
            yield _well(f"{setting}, {folder.absolute()}: can be written, {free:,.0f} GB free")


def _telling() -> Iterator[Finding]:
    settings = service()
    command = next(iter(shlex.split(settings.notify)), "")
    folder = settings.metrics_folder
    if command and not shutil.which(command):
        yield _ill(
            f"[service] notify: there is no program {command!r}: correct it, or no outage is told there"
        )
    elif command:
        yield _well(f"[service] notify: messages go to {command}")
    elif shutil.which("sendmail", path=f"{os.environ.get('PATH', os.defpath)}:{SENDMAIL_FOLDERS}"):
        yield _well("[service] notify: not set, messages go to standard error, which cron mails")
    else:
        yield _ill(
            "[service] notify: not set, and there is no sendmail by which cron could mail messages: "
            "set it to a command, or install a mail server"
        )
    if folder and not folder.is_dir():
        yield _ill(f"[service] metrics: {folder.absolute()} is not there: make it, or correct the setting")
    elif folder:
        yield _well(f"[service] metrics: {folder.absolute()}")


def _problem_of(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        free, status = shutil.disk_usage(folder).free, os.statvfs(folder)
    except OSError as error:
        return f"can't be written ({error.strerror}): give access to it, or set another"
    if free < LEAST_ROOM:
        return f"{free / 1e6:,.0f} MB free: make room, or lower [PruneSnapshots] keep_days"
    if status.f_files and status.f_favail < LEAST_FILES:
        return f"room for {status.f_favail:,} files only: remove some, or lower [PruneSnapshots] keep_days"
    return ""


def _api() -> Iterator[Finding]:
    settings = replace(ccdb().settings(), deadline=PATIENCE)
    before = datetime.now(timezone.utc)
    with Client(settings) as client:
        try:
            told = client.probe()
        except TransientError as error:
            yield _ill(f"{error}: if it stays so, see to the network, and to [ccdb] url")
            return
    yield _well(f"{client.host} answers")
    if told is not None and abs(told - before) > MAXIMUM_CLOCK_SKEW:
        yield _ill(
            f"this machine's clock says {as_text(before)}, the API's {as_text(told)}: "
            "set it, and let NTP keep it"
        )


# --- the database --------------------------------------------------------------------------------


def _database() -> Iterator[Finding]:
    database = Database(storage().database_address)
    ended_well = newest_of_each(storage().path, besides=TROUBLE | {"skipped"})
    try:
        with database.reading() as connection:
            held, missing = count_complaints(connection), find_missing(connection)
            later = None if missing else find_later_in_database(connection)
            known = [] if missing else ranges(covered(connection))
            open_matters = None if missing else _open_matters(connection)
    except NoDatabaseError:
        yield _without_database(database.name, ended_well)
    except TransientError as error:
        yield _ill(f"{error}: if it stays so, see to it, or to [storage] database")
    else:
        if missing:
            yield _ill(f"{database.name} is damaged: {missing}; {RESTORE}")
            return
        if later:
            yield _ill(remedy(database.name, later))
        yield _well(f"{database.name}: {counted(held, 'complaint')}, {_last_sync(ended_well)}")
        yield from _coverage(known)
        if open_matters:
            yield _ill(open_matters)


def _open_matters(connection: Connection) -> str:
    """Return in one line how many withdrawals are held back; nothing if none is."""
    held = count_held(connection)
    return f"the withdrawal of {counted(held, 'complaint')} is held back: {RELEASE}" if held else ""


def _coverage(known: list[CoveredRange]) -> Iterator[Finding]:
    """Give what the database covers, in at most `MOST_RANGES` lines and one for the rest."""
    for one in known[:MOST_RANGES]:
        yield _well(f"it covers {one}")
    if len(known) > MOST_RANGES:
        yield _well(f"and {len(known) - MOST_RANGES:,} more: see `luigi-etl status`")
    if not known:
        yield _well("it covers no query completely")


def _without_database(name: str, ended_well: list[Run]) -> Finding:
    now = this_minute()
    for run in ended_well:
        if run.outcome in ("merged", "synced") and now - run.minute < DAY:
            return _ill(
                f"{name}: there is nothing, although there was {_told(run)}: see to [storage] database, or "
                "let SyncComplaints fill it again"
            )
    return _well(f"{name}: none yet")


def _last_sync(ended_well: list[Run]) -> str:
    synced = [run.minute for run in ended_well if run.outcome == "synced"]
    return f"the last sync of {as_text(max(synced))}" if synced else "no sync on record"


# --- the runs ------------------------------------------------------------------------------------


def _runs() -> Iterator[Finding]:
    root, now = storage().path, this_minute()
    runs = newest_of_each(root)
    if not runs:
        yield _ill(f"no run left anything in {root.absolute()}: wait a minute, or see [storage] root")
        return
    last = max(runs, key=lambda run: run.minute)
    if last.minute > now + MAXIMUM_CLOCK_SKEW:
        yield _ill(f"{remedy(f'the last run, {_told(last)}', last.minute)}; let NTP keep the clock")
    elif now - last.minute > LATEST:
        yield _ill(
            f"the last run, {_told(last)}, is long ago: check cron, and the logs in "
            f"{service().path.absolute()}"
        )
    elif last.outcome not in TROUBLE - {"unfinished"}:
        yield _well(f"the last run, {_told(last)}")
    for latest in sorted(latest_folder(root).glob("*.csv")):
        if warning := latest_warning(latest):
            yield _ill(warning)
    for newest in runs:
        run = newest_run(root, newest.query, besides=["skipped"])
        if run and _is_to_be_seen_to(run, newest, now):
            yield _ill(f"{_told(run)}: {run.error}; {_remedy(root, run)}")


def _is_to_be_seen_to(run: Run, newest: Run, now: datetime) -> bool:
    """Tell whether a query's newest run failed, and lately enough to matter.

    `newest` may be a later one that was skipped: then one that is unfinished is still at work.
    """
    if run.outcome == "unfinished" and now - newest.minute < LATEST:
        return False
    return run.outcome in TROUBLE and now - run.minute < DAY


def _remedy(root: Path, run: Run) -> str:
    if is_of_syncs(run.query):
        return f"the next run tries again{_log_of(run)}"
    options = options_of(root, run.query)
    command = f"luigi-etl redo {as_parameter(run.minute)} {options}"
    if run.is_stored_only:
        return f"`{command} --from merge` merges it"
    if run.rows is not None and run.outcome == "failed":
        return "its files are whole, and the next run takes a new snapshot"
    if run.outcome == "failed":
        return f"the next run takes a new snapshot, `{command}` this one{_log_of(run)}"
    return f"`{command} --from store` completes it from what is there"


def _log_of(run: Run) -> str:
    """Name the logs of a query's runs that exist."""
    folder = service().path.absolute()
    logs = [str(path) for path in sorted(folder.glob(f"*.{glob.escape(run.query)}.log"))]
    return f"; if that fails too, see {' and '.join(logs)}" if logs else ""


def _told(run: Run) -> str:
    return f"{as_text(run.minute)} of {run.query}, {run.outcome}"


def _temporary_files() -> Iterator[Finding]:
    root = storage().path
    unreadable: dict[Path, OSError] = {}
    old = len(list(leftovers(root, unreadable.setdefault)))
    for folder, error in unreadable.items():
        yield _ill(f"{folder.absolute()} can't be read ({error.strerror}): give access to it")
    if old:
        yield _ill(
            f"{counted(old, 'temporary file')} older than a day: run `luigi --module luigi_etl "
            "PruneSnapshots --local-scheduler`"
        )
    elif not unreadable:
        yield _well("no temporary file is older than a day")
    for killed in killed_redos(root, time.time() - DAY.total_seconds()):
        minute = as_parameter(killed.timestamp)
        again = redo_command(killed, "store")
        yield _ill(f"a redo of {minute} UTC of {killed.slug} was killed: `{again}` settles it")


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "config": _configuration,
    "luigid": _luigid,
    "cron": _cron,
    "folders": _folders,
    "messages": _telling,
    "API and clock": _api,
    "database": _database,
    "runs": _runs,
    "temporary files": _temporary_files,
}
