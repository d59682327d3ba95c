"""Check how messages and metrics leave the machine."""

import os
import shlex
import shutil
from collections.abc import Iterator

from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.tasks.config import service

SENDMAIL_FOLDERS = "/usr/sbin:/usr/lib"  # where cron looks for it


def check_messages() -> Iterator[Finding]:
    """Check that messages and metrics have a destination."""
    settings = service()
    command = next(iter(shlex.split(settings.notify)), "")
    folder = settings.metrics_folder
    if command and not shutil.which(command):
        yield failed(
            f"[service] notify: there is no program {command!r}: correct it, or no outage is told there"
        )
    elif command:
        yield passed(f"[service] notify: messages go to {command}")
    elif shutil.which("sendmail", path=f"{os.environ.get('PATH', os.defpath)}:{SENDMAIL_FOLDERS}"):
        yield passed("[service] notify: not set, messages go to standard error, which cron mails")
    else:
        yield failed(
            "[service] notify: not set, and there is no sendmail by which cron could mail messages: "
            "set it to a command, or install a mail server"
        )
    if folder and not folder.is_dir():
        yield failed(f"[service] metrics: {folder.absolute()} is not there: make it, or correct the setting")
    elif folder:
        yield passed(f"[service] metrics: {folder.absolute()}")
