"""How far a long piece of work is: whom to tell, and what a person sees of it on a terminal."""

import sys
from collections.abc import Callable
from typing import TextIO

from luigi_etl.lines import counted

WIDTH = 30
Report = Callable[[int, int], None]  # hears how many complaints are done, of how many


def unwatched(done: int, expected: int) -> None:
    """Tell nobody."""


class ProgressBar:
    """One line on a terminal, drawn over and over; nothing where the stream is not a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._drawn = False

    def show(self, done: int, expected: int) -> None:
        """Draw how far it is."""
        if not self._stream.isatty() or expected <= 0:
            return
        share = min(1.0, done / expected)
        bar = "#" * int(share * WIDTH)
        self._stream.write(
            f"\r[{bar:<{WIDTH}}] {share:4.0%}  {done:,} of {counted(expected, 'complaint')}\x1b[K"
        )
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the line away, so that what is printed next starts on a clean one."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False
