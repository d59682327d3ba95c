"""Luigi's configuration files; Luigi silently ignores those that it can't open."""

import configparser
import os
import re
from collections.abc import Iterable
from pathlib import Path

FILES = {  # by $LUIGI_CONFIG_PARSER
    "cfg": ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg"),
    "toml": ("/etc/luigi/luigi.toml", "luigi.toml"),
}
_VALUE = re.compile(r"(, found:| reference ).*", re.DOTALL)


def find_config_files() -> tuple[str, ...]:
    """Return the configuration files that Luigi looks for, except $LUIGI_CONFIG_PATH."""
    return FILES.get(os.environ.get("LUIGI_CONFIG_PARSER", ""), FILES["cfg"])


def check_readable(paths: Iterable[str]) -> None:
    """Check that Luigi can open the existing files of `paths`, and $LUIGI_CONFIG_PATH.

    Raises:
        ValueError: a file can't be opened; the text is one line.

    """
    named = os.environ.get("LUIGI_CONFIG_PATH", "")
    for path in dict.fromkeys([*paths, *filter(None, [named])]):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            if path != named and isinstance(error, (FileNotFoundError, NotADirectoryError)):
                continue
            remedy = (
                "unset LUIGI_CONFIG_PATH, or correct it" if path == named else "give access, or remove it"
            )
            raise ValueError(f"{path} can't be read ({error.strerror}): {remedy}") from error


def describe_config_error(error: BaseException) -> str:
    """Return a configuration error in one line, without values: they may contain passwords."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: a setting before the first [section]"
    if isinstance(error, configparser.ParsingError):
        lines = ", ".join(str(line) for line, _ in error.errors)
        return f"line {lines}: neither a [section] nor NAME=VALUE"
    if isinstance(error, configparser.InterpolationSyntaxError):
        return _VALUE.sub("", str(error))
    if isinstance(error, configparser.InterpolationError):
        return f"[{error.section}] {error.option} names a setting or an environment variable that is not set"
    return " ".join(str(error).split())
