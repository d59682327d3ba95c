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
        """The lines as a person sees them: a carriage return starts the line again."""
        return [_overwritten(line) for line in self.getvalue().split("\n")]


def _overwritten(line: str) -> str:
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


def test_a_terminal_shows_how_far_it_is(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(5_000, 20_000)

    assert terminal.lines[-1].startswith(" 25%|")
    assert "| 5,000 of 20,000, " in terminal.lines[-1]


def test_rate_and_remaining_time_leave_out_the_first_page(terminal: Terminal, bar: ProgressBar) -> None:
    """The first one shown may be the last of many that an earlier run left."""
    bar.show(1_000_000, 1_000_020)
    time.sleep(0.5)
    bar.show(1_000_010, 1_000_020)

    rate, remaining = terminal.lines[-1].split(", ")[1:]
    assert 1 <= float(rate.removesuffix(" complaints/s")) <= 20
    assert remaining in [f"00:{seconds:02} left" for seconds in range(11)]


def test_another_walk_starts_the_bar_again(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(30, 40)
    bar.show(10, 50)

    assert "| 10 of 50, " in terminal.lines[-1]


def test_the_bar_is_cleared_away(terminal: Terminal, bar: ProgressBar) -> None:
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


def test_the_bar_starts_no_thread(bar: ProgressBar) -> None:
    threads = threading.active_count()

    bar.show(1, 2)

    assert threading.active_count() == threads


def test_what_is_no_terminal_is_left_alone() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream)
    bar.show(1, 2)
    bar.clear()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("expected", [0, -1])
def test_a_walk_that_expects_nothing_draws_nothing(
    terminal: Terminal, bar: ProgressBar, expected: int
) -> None:
    bar.show(0, expected)
    assert terminal.getvalue() == ""


def test_more_than_expected_is_not_more_than_all(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(3, 2)
    assert "100%" in terminal.lines[-1]


def test_the_largest_total_is_harmless(terminal: Terminal, bar: ProgressBar) -> None:
    bar.show(1, 10**12)
    time.sleep(0.2)
    bar.show(2, 10**12)
    assert "| 2 of 1,000,000,000,000, " in terminal.lines[-1]
    assert len(terminal.lines) == 1
