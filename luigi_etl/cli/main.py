"""The command `luigi-etl` and its subcommands."""

import argparse
import configparser
import sys
from collections.abc import Sequence
from importlib import import_module

from luigi_etl.common.errors import USAGE_ERROR, EtlError
from luigi_etl.common.luigi_cfg import describe_config_error
from luigi_etl.common.terminal import discard_output, one_line
from luigi_etl.tasks.startup import import_luigi

COMMANDS = (
    *("crontab", "doctor", "status", "runs", "redo", "verify", "export", "forget"),
    *("luigid", "unattended", "sandbox"),
)
FAILED = 1
INTERRUPTED = 130  # as in shells


def main() -> None:
    """Run `luigi-etl` with the program's arguments and end with its exit code."""
    try:
        code = run(sys.argv[1:])
    except SystemExit as ended:  # by argparse, for example after --help
        code = ended.code if isinstance(ended.code, int) else 0
    sys.exit(_flush_output(code))


def _flush_output(code: int) -> int:
    """Flush standard output and return the exit code; Python itself would fail with code 120."""
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
    """Run `luigi-etl` and return the exit code; a command line may follow after `--`."""
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
        sys.stderr.write(f"luigi-etl: error: {one_line(f'{error}{_describe_luigi_cfg(error)}')}\n")
        return USAGE_ERROR
    except (EtlError, OSError) as error:
        sys.stderr.write(f"luigi-etl: error: {one_line(error)}\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _describe_luigi_cfg(error: ValueError) -> str:
    """Return the reason of an error in luigi.cfg, or an empty string: Luigi names only the setting."""
    cause = error.__cause__
    if not cause or "Error when parsing the default value" not in str(error):
        return ""
    percent = "; write % as %%" if isinstance(cause, configparser.Error) else ""
    return f" (luigi.cfg: {describe_config_error(cause)}{percent})"


class _ShowVersion(argparse.Action):
    """Print the installed version."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # an import that slows each run by cron

        print(f"{parser.prog} {version('luigi_etl')}")
        parser.exit()


def _parser(first: str = "") -> argparse.ArgumentParser:
    """Return a parser with the command `first` alone, or with all commands."""
    parser = argparse.ArgumentParser(
        prog="luigi-etl",
        description="Operate the pipeline luigi_etl.",
        epilog="Run the pipeline itself with: luigi --module luigi_etl StoreComplaints --local-scheduler",
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in [first] if first in COMMANDS else COMMANDS:
        import_module(f"luigi_etl.cli.{name}").add_to(commands)
    return parser


if __name__ == "__main__":
    main()
