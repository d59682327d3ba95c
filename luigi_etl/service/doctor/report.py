"""All checks in their order, and their findings."""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace

from luigi.parameter import ParameterException

from luigi_etl.common.errors import EtlError
from luigi_etl.common.terminal import one_line
from luigi_etl.service.doctor.api import check_api
from luigi_etl.service.doctor.configuration import check_configuration
from luigi_etl.service.doctor.cron import check_cron
from luigi_etl.service.doctor.database import check_database
from luigi_etl.service.doctor.disk import check_folders, check_temporary_files
from luigi_etl.service.doctor.finding import Finding, failed, reason_of
from luigi_etl.service.doctor.luigid import check_luigid
from luigi_etl.service.doctor.messages import check_messages
from luigi_etl.service.doctor.runs import check_runs

CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "config": check_configuration,
    "luigid": check_luigid,
    "cron": check_cron,
    "folders": check_folders,
    "messages": check_messages,
    "API and clock": check_api,
    "database": check_database,
    "runs": check_runs,
    "temporary files": check_temporary_files,
}


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
        found.append(failed(str(error)))
    except OSError as error:
        found.append(failed(f"{error.strerror or error} ({error.filename}): give access to it"))
    except (ValueError, RuntimeError, ParameterException, SystemExit) as error:  # of a setting
        reason = reason_of(said, error)
        found.append(failed(f"this can't be checked ({reason}): correct luigi.cfg or the environment"))
    return found
