import io

from luigi_etl.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_it_is() -> None:
    terminal = Terminal()
    ProgressBar(terminal).show(5_000, 20_000)
    assert terminal.getvalue() == "\r[#######                       ]  25%  5,000 of 20,000 complaints\x1b[K"


def test_the_bar_is_cleared_away() -> None:
    terminal = Terminal()
    bar = ProgressBar(terminal)
    bar.show(1, 2)
    bar.clear()
    bar.clear()
    assert terminal.getvalue().count("\r\x1b[K") == 1
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_what_is_no_terminal_is_left_alone() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream)
    bar.show(1, 2)
    bar.clear()
    assert stream.getvalue() == ""


def test_a_walk_that_expects_nothing_draws_nothing() -> None:
    terminal = Terminal()
    ProgressBar(terminal).show(0, 0)
    assert terminal.getvalue() == ""


def test_more_than_expected_is_not_more_than_all() -> None:
    terminal = Terminal()
    ProgressBar(terminal).show(3, 2)
    assert "100%" in terminal.getvalue()
