import io
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_etl.common.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """The visible lines: a carriage return starts a line again."""
        return [_overwrite_line(line) for line in self.getvalue().split("\n")]


def _overwrite_line(line: str) -> str:
    seen = ""
    for part in line.split("\r"):
        seen = part + seen[len(part) :]
    return seen.rstrip()


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def bar(terminal: Terminal) -> Iterator[ProgressBar]:
    bar = ProgressBar(terminal)
    yield bar
    bar.clear()


def test_terminal_shows_the_progress(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(5_000, 20_000)

    assert terminal.lines[-1].startswith(" 25%|")
    assert "| 5,000 of 20,000, " in terminal.lines[-1]


def test_rate_and_remaining_time_leave_out_the_first_page(terminal: Terminal, bar: ProgressBar) -> None:
    """The first report may count pages of an earlier run."""
    bar.show(1_000_000, 1_000_020)
    time.sleep(0.5)
    bar.show(1_000_010, 1_000_020)

    rate, remaining = terminal.lines[-1].split(", ")[1:]
    assert 1 <= float(rate.removesuffix(" complaints/s")) <= 20
    assert remaining in [f"00:{seconds:02} left" for seconds in range(11)]


def test_lower_count_starts_a_new_bar(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(30, 40)
    bar.show(10, 50)

    assert "| 10 of 50, " in terminal.lines[-1]


def test_bar_is_cleared(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(1, 2)
    bar.clear()
    bar.clear()
    terminal.write("next")

    assert terminal.lines == ["next"]


@pytest.mark.parametrize("name", ["luigi-interface", "luigi_etl"])
def test_messages_appear_above_the_bar(
    terminal: Terminal,
    bar: ProgressBar,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(logging.getLogger(name), "handlers", [logging.StreamHandler(terminal)])
    caplog.set_level(logging.WARNING, logger=name)
    bar.show(1, 2)

    logging.getLogger(name).warning("luigid is away")

    assert terminal.lines[0] == "luigid is away"
    assert "| 1 of 2, " in terminal.lines[1]
    bar.clear()
    assert terminal.lines == ["luigid is away", ""]


def test_message_of_a_console_handler_is_printed_once(
    terminal: Terminal, bar: ProgressBar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(terminal)])
    monkeypatch.setattr(logging.getLogger("luigi_etl"), "handlers", [])
    bar.show(1, 2)

    logging.getLogger("luigi_etl").warning("luigid is away")

    bar.clear()
    assert terminal.lines == ["luigid is away", ""]


def test_message_of_a_log_file_stays_off_the_terminal(
    terminal: Terminal, bar: ProgressBar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("luigi_etl")
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(logger, "handlers", [logging.FileHandler(tmp_path / "log")])
    monkeypatch.setattr(logger, "propagate", False)
    bar.show(1, 2)

    logger.warning("luigid is away")

    bar.clear()
    assert terminal.lines == [""]
    assert (tmp_path / "log").read_text() == "luigid is away\n"


def test_bar_starts_no_thread(bar: ProgressBar) -> None:
    threads = threading.active_count()

    bar.show(1, 2)

    assert threading.active_count() == threads


def test_bar_is_not_drawn_without_a_terminal() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream)

    bar.show(1, 2)

    bar.clear()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("expected", [0, -1])
def test_bar_is_not_drawn_if_nothing_is_expected(terminal: Terminal, bar: ProgressBar, expected: int) -> None:
    bar.show(0, expected)

    assert terminal.getvalue() == ""


def test_bar_stops_at_100_percent(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(3, 2)

    assert "100%" in terminal.lines[-1]


def test_largest_total_fits_the_line(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(1, 10**12)
    time.sleep(0.2)

    bar.show(2, 10**12)

    assert "| 2 of 1,000,000,000,000, " in terminal.lines[-1]
    assert len(terminal.lines) == 1
