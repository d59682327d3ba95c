"""Helpers of the doctor's tests."""

import json
from collections.abc import Callable
from datetime import timedelta

from luigi_etl.service.doctor import report
from luigi_etl.service.doctor.finding import Finding
from tests.conftest import Chain

NOWHERE = "http://127.0.0.1:9/"
ONE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

RunCheck = Callable[[str], list[tuple[bool, str]]]


def run_doctor(chain: Chain, url: str = NOWHERE) -> list[Finding]:
    """Return the findings of the program, and check the form of its output."""
    ran = chain.program("luigi-etl", "doctor", "--json", url=url)
    assert ran.err == ""
    findings = [Finding(**fields) for fields in json.loads(ran.out)]
    assert ran.code == (0 if all(finding.well for finding in findings) else 1)
    assert list(dict.fromkeys(finding.check for finding in findings)) == list(report.CHECKS)
    for finding in findings:
        assert finding.message
        assert finding.message.isprintable()
    return findings


def of_check(check: str, findings: list[Finding]) -> list[tuple[bool, str]]:
    return [(finding.well, finding.message) for finding in findings if finding.check == check]


def findings_of(chain: Chain, check: str, url: str = NOWHERE) -> list[tuple[bool, str]]:
    """Return the findings of one check by the program: whether it passed, and the message."""
    return of_check(check, run_doctor(chain, url))


def failure_of(chain: Chain, check: str, url: str = NOWHERE) -> str:
    """Return the message of the one finding that failed."""
    (message,) = [message for well, message in findings_of(chain, check, url) if not well]
    return message
