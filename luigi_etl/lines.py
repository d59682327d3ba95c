"""Lines for people: what a terminal may be given, and printing that costs nobody a run."""

import contextlib
import sys


def printable(text: str) -> str:
    """Return a text in one line, with an escape (`\\x1b`) for each character a terminal might act on."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def one_line(text: str) -> str:
    """Return a text of any number of lines in one, printable."""
    return printable(" ".join(text.split()))


def encodable(line: str) -> str:
    """Return a line as far as standard output has the letters, with escapes for the others."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def print_line(line: str) -> None:
    """Print a line as far as the terminal can: what is done is done, told or not."""
    with contextlib.suppress(OSError):
        print(encodable(line), flush=True)
