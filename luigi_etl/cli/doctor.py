"""`luigi-etl doctor`: check an installation."""

import argparse

from luigi_etl.cli import Subcommands
from luigi_etl.common.terminal import encodable

FAILED = 1


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "doctor",
        help="check the installation",
        description="Check the configuration, luigid, cron, the folders, the clock, the API (with one "
        "request), the database, the last runs and leftover files. Each failed check names its remedy. The "
        "exit code is 0 if every check passes, else 1.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print a JSON array, for monitoring")


def run(options: argparse.Namespace) -> int:
    """Print the findings of all checks."""
    import json
    from dataclasses import asdict

    from luigi_etl.service.doctor.report import examine

    findings = list(examine())
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            line = f"{'ok  ' if finding.well else 'FAIL'}  {finding.check:<15}  {finding.message}"
            print(encodable(line))
    return 0 if all(finding.well for finding in findings) else FAILED
