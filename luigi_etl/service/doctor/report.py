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
from luigi_etl.service.doctor.finding import Finding, describe_refusal, failed
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
    """Run all checks in order and yield their findings; each check yields at least one."""
    for name, check in CHECKS.items():
        for finding in _run_check(check):
            yield replace(finding, check=name, message=one_line(finding.message))


def _run_check(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return the findings of a check; an error becomes the last one."""
    findings = []
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):  # `refuse` writes the reason there
            for finding in check():
                findings.append(finding)  # one by one: an error must not lose the earlier ones
    except EtlError as error:
        findings.append(failed(str(error)))
    except OSError as error:
        findings.append(failed(f"{error.strerror or error} ({error.filename}): give access to it"))
    except (ValueError, RuntimeError, ParameterException, SystemExit) as error:  # of a setting
        reason = describe_refusal(stderr, error)
        findings.append(failed(f"this can't be checked ({reason}): correct luigi.cfg or the environment"))
    return findings
