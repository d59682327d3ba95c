"""Check that messages and metrics have a destination."""

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.tasks.config import service

SENDMAIL_FOLDERS = "/usr/sbin:/usr/lib"  # where cron looks for it


def check_messages() -> Iterator[Finding]:
    """Check that messages and metrics have a destination."""
    settings = service()
    yield _check_notify(settings.notify)
    if settings.metrics_folder:
        yield _check_metrics(settings.metrics_folder)


def _check_notify(notify: str) -> Finding:
    program = next(iter(shlex.split(notify)), "")
    if program and not shutil.which(program):
        return failed(
            f"[service] notify: the program {program!r} does not exist: correct it; until then messages go "
            "to standard error"
        )
    if program:
        return passed(f"[service] notify: messages go to {program}")
    if shutil.which("sendmail", path=f"{os.environ.get('PATH', os.defpath)}:{SENDMAIL_FOLDERS}"):
        return passed("[service] notify: not set; messages go to standard error, and cron mails them")
    return failed(
        "[service] notify: not set, and cron can't mail messages without sendmail: "
        "set it to a command, or install a mail server"
    )


def _check_metrics(folder: Path) -> Finding:
    if not folder.is_dir():
        return failed(
            f"[service] metrics: {folder.absolute()} does not exist: create it, or correct the setting"
        )
    return passed(f"[service] metrics: {folder.absolute()}")
