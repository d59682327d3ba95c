"""The command `luigi-etl`: what goes with the pipeline but is no task."""

import argparse
import configparser
import sys
from collections.abc import Sequence
from importlib import import_module

from luigi_etl.common.errors import USAGE_ERROR, EtlError
from luigi_etl.common.luigi_cfg import without_values
from luigi_etl.common.terminal import discard_output, one_line
from luigi_etl.tasks.startup import import_luigi

COMMANDS = (
    *("crontab", "doctor", "status", "runs", "redo", "verify", "export", "forget"),
    *("luigid", "unattended", "sandbox"),
)
FAILED = 1
INTERRUPTED = 130  # as shells have it


def main() -> None:
    """Run `luigi-etl` with the program's arguments and end with its exit code."""
    try:
        code = run(sys.argv[1:])
    except SystemExit as ended:  # of argparse, after --help, say
        code = ended.code if isinstance(ended.code, int) else 0
    sys.exit(_printed(code))


def _printed(code: int) -> int:
    """Return the exit code when all that was printed has arrived; Python would end with 120 if it can't."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        discard_output()
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"luigi-etl: error: cannot print: {error.strerror or error}\n")
            return code or FAILED
    return code


def run(arguments: Sequence[str]) -> int:
    """Run `luigi-etl`; what follows `--` is another program's command line. Returns the exit code."""
    own, command = list(arguments), []
    if "--" in own:
        at = own.index("--")
        own, command = own[:at], own[at + 1 :]
    options = _parser(*own[:1]).parse_args(own)
    options.command = command
    import_luigi()
    try:
        code: int = options.run(options)
    except ValueError as error:
        sys.stderr.write(f"luigi-etl: error: {one_line(f'{error}{_of_configuration(error)}')}\n")
        return USAGE_ERROR
    except (EtlError, OSError) as error:
        sys.stderr.write(f"luigi-etl: error: {one_line(error)}\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _of_configuration(error: ValueError) -> str:
    """Tell what is wrong with luigi.cfg, if that is it: Luigi says only where."""
    cause = error.__cause__
    if not cause or "Error when parsing the default value" not in str(error):
        return ""
    percent = "; a % is written %%" if isinstance(cause, configparser.Error) else ""
    return f" (luigi.cfg: {without_values(cause)}{percent})"


class _ShowVersion(argparse.Action):
    """Print the installed version."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # each run by cron would wait for it

        print(f"{parser.prog} {version('luigi_etl')}")
        parser.exit()


def _parser(first: str = "") -> argparse.ArgumentParser:
    """Return the parser for a command line by its first word: where that is a command, it is the only one."""
    parser = argparse.ArgumentParser(
        prog="luigi-etl",
        description="What goes with the pipeline luigi_etl.",
        epilog="The pipeline itself: luigi --module luigi_etl StoreComplaints --local-scheduler",
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in [first] if first in COMMANDS else COMMANDS:
        import_module(f"luigi_etl.cli.{name}").add_to(commands)
    return parser


if __name__ == "__main__":
    main()
