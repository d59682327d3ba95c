"""The text of the block."""

import os
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luigi_etl.common.errors import SettingError
from luigi_etl.service.crontab.block import Jobs, render_block
from tests.conftest import PROJECT
from tests.service.crontab.helpers import CRONS, create_checkout, render_jobs


@pytest.mark.slow
@given(st.text(st.characters(exclude_characters="\n/\0", codec="utf-8"), min_size=1, max_size=12))
@example("a\\%b 'c'%%\\\\%\"$HOME`~!{run}{options}*\r")
def test_any_interpreter_name_reaches_the_wrapper_unchanged(name: str) -> None:
    line = render_jobs(Jobs(PROJECT, "/opt/" + name))[0]
    command = line.removeprefix("* * * * * ")

    words = [f"{PROJECT}/cron/run", "/opt/" + name, "unattended", "StoreComplaints"]
    assert re.search(r"(?<!\\)%", command) is None
    for unescape in CRONS.values():
        assert shlex.split(unescape(command)) == words


@pytest.mark.parametrize("jobs", [Jobs(Path("/srv/a\nb"), "/python"), Jobs(PROJECT, "/opt/a\nb")])
def test_path_with_a_newline_is_refused(jobs: Jobs) -> None:
    with pytest.raises(SettingError, match="holds a newline, which no crontab can hold; rename the folder"):
        render_block(jobs)


def test_path_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    checkout = create_checkout(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), "* * * * * {run} x\n")

    assert b"/caf\xe9/cron/run' /python x\n" in render_block(Jobs(checkout, "/python"))


def test_block_keeps_the_times_and_omits_explanations(tmp_path: Path) -> None:
    checkout = create_checkout(tmp_path, "# {run} means\n\n# why\n5 4 * * * {run} x{options}\n \n# the end\n")

    written = render_block(Jobs(checkout, "/python", limit=0)).decode().splitlines()

    assert written[2:-1] == ["# why", f"5 4 * * * {tmp_path}/cron/run /python x --limit 0"]


@pytest.mark.parametrize("text", ["", "# {run}\n", "* * * * * true\n"])
def test_template_without_commands_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingError, match=r"cron/crontab runs nothing: .*; restore it"):
        render_block(Jobs(create_checkout(tmp_path, text), "/python"))


def test_missing_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"cannot read .*cron/crontab: No such file"):
        render_block(Jobs(tmp_path, "/python"))
