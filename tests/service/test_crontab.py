"""`luigi-etl crontab` and cron/run: the block, the real program crontab, and jobs run as by cron."""

import errno
import fcntl
import json
import os
import random
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luigi_etl.cli.main import run
from luigi_etl.common.errors import CrontabError, SettingError
from luigi_etl.service.crontab import change
from luigi_etl.service.crontab.block import Jobs, render_block
from luigi_etl.service.crontab.change import change_crontab
from luigi_etl.service.crontab.marks import find_block, put_block, remove_block
from tests.conftest import CRONTAB, PROJECT, Run, UserCrontab

CHECKOUT = Path("/srv/luigi_etl")
OTHER = Path("/srv/luigi_etl 2")
BLOCK = b"# begin luigi_etl /srv/luigi_etl\n* * * * * run\n# end luigi_etl /srv/luigi_etl\n"
NEWER = BLOCK.replace(b"run", b"run --newer\n@reboot run")
OF_OTHER = b"# begin luigi_etl '/srv/luigi_etl 2'\n* * * * * run\n# end luigi_etl '/srv/luigi_etl 2'\n"
STRANGE = b"MAILTO=me\r\n# caf\xe9 \xff\n\n* * * * *   date +\\%s '\\r\\n\\b'\b\x0b\x0c\x85 \r\n"

# How crons pass on `\%` to the shell: most remove the backslash (Debian's, cronie), the original keeps it.
CRONS: dict[str, Callable[[str], str]] = {
    "removes backslash": lambda command: command.replace(r"\%", "%"),
    "keeps backslash": lambda command: command,
}


def crontabs() -> st.SearchStrategy[bytes]:
    """Generate crontabs of any bytes, some with the block of another checkout."""
    line = st.binary(max_size=20).filter(lambda line: b"\n" not in line)
    lines = st.lists(line.map(lambda line: line + b"\n") | st.just(OF_OTHER), max_size=6)
    return st.builds(lambda lines, last: b"".join(lines) + last, lines, line)


def ended(crontab: bytes) -> bytes:
    """Return a crontab whose last line ends with a newline, as cron requires."""
    return crontab + b"\n" if crontab and not crontab.endswith(b"\n") else crontab


# --- the block in a crontab ----------------------------------------------------------------------


@given(crontabs())
@example(b"")
@example(STRANGE)
@example(b"* * * * * no newline")
def test_adding_and_removing_restores_the_crontab(crontab: bytes) -> None:
    added = put_block(crontab, CHECKOUT, BLOCK)
    assert added == ended(crontab) + BLOCK
    assert remove_block(added, CHECKOUT) == ended(crontab)


@pytest.mark.slow
@given(crontabs(), crontabs())
@example(STRANGE, b"* * * * * no newline")
def test_block_is_replaced_in_its_place(before: bytes, after: bytes) -> None:
    replaced = put_block(ended(before) + BLOCK + after, CHECKOUT, NEWER)
    assert replaced == ended(before) + NEWER + ended(after)


@given(crontabs())
def test_adding_twice_equals_adding_once(crontab: bytes) -> None:
    once = put_block(crontab, CHECKOUT, BLOCK)
    assert put_block(once, CHECKOUT, BLOCK) == once


@given(crontabs())
@example(b"* * * * * no newline")
def test_removing_a_missing_block_changes_nothing(crontab: bytes) -> None:
    assert remove_block(crontab, CHECKOUT) == crontab


def test_two_checkouts_share_one_crontab() -> None:
    both = put_block(put_block(STRANGE, CHECKOUT, BLOCK), OTHER, OF_OTHER)
    assert both == STRANGE + BLOCK + OF_OTHER
    assert remove_block(both, CHECKOUT) == STRANGE + OF_OTHER


def test_duplicate_block_becomes_one_block() -> None:
    assert put_block(BLOCK + STRANGE + BLOCK, CHECKOUT, NEWER) == NEWER + STRANGE
    assert remove_block(BLOCK + STRANGE + BLOCK, CHECKOUT) == STRANGE


def test_marks_with_changed_line_endings_are_found() -> None:
    assert remove_block(STRANGE + BLOCK.replace(b"\n", b" \r\n"), CHECKOUT) == STRANGE


@pytest.mark.parametrize(
    ("crontab", "line"),
    [
        (b"\n# begin luigi_etl /srv/luigi_etl\n* * * * * run\n", 2),
        (b"* * * * * run\n# end luigi_etl /srv/luigi_etl\n", 2),
        (b"# end luigi_etl /srv/luigi_etl\n# begin luigi_etl /srv/luigi_etl\n", 1),
        (b"# begin luigi_etl /srv/luigi_etl\n" + BLOCK, 2),
        (BLOCK + b"# end luigi_etl /srv/luigi_etl\n", 4),
        (b"# begin luigi_etl /srv/luigi_etl\n" + OF_OTHER + b"# end luigi_etl /srv/luigi_etl\n", 2),
    ],
)
def test_unpaired_marks_are_refused_with_their_line(crontab: bytes, line: int) -> None:
    message = rf"^your crontab: line {line}, .# .* luigi_etl .*., has no counterpart; .*`crontab -e`$"
    with pytest.raises(CrontabError, match=message):
        put_block(crontab, CHECKOUT, BLOCK)
    with pytest.raises(CrontabError, match=message):
        remove_block(crontab, CHECKOUT)


# --- the block itself ----------------------------------------------------------------------------


def template(folder: Path, text: str) -> Path:
    """Create a checkout with this template."""
    (folder / "cron").mkdir(parents=True, exist_ok=True)
    (folder / "cron" / "crontab").write_text(text)
    return folder


def lines(jobs: Jobs) -> list[str]:
    """Return the jobs of the block."""
    return [line for line in os.fsdecode(render_block(jobs)).split("\n") if not line.startswith("#")]


@pytest.mark.slow
@given(st.text(st.characters(exclude_characters="\n/\0", codec="utf-8"), min_size=1, max_size=12))
@example("a\\%b 'c'%%\\\\%\"$HOME`~!{run}{options}*\r")
def test_any_interpreter_name_reaches_the_wrapper_unchanged(name: str) -> None:
    line = lines(Jobs(PROJECT, "/opt/" + name))[0]
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
    checkout = template(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), "* * * * * {run} x\n")
    assert b"/caf\xe9/cron/run' /python x\n" in render_block(Jobs(checkout, "/python"))


def test_block_keeps_the_times_and_omits_explanations(tmp_path: Path) -> None:
    checkout = template(tmp_path, "# {run} means\n\n# why\n5 4 * * * {run} x{options}\n \n# the end\n")
    written = render_block(Jobs(checkout, "/python", limit=0)).decode().splitlines()
    assert written[2:-1] == ["# why", f"5 4 * * * {tmp_path}/cron/run /python x --limit 0"]


@pytest.mark.parametrize("text", ["", "# {run}\n", "* * * * * true\n"])
def test_template_without_commands_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingError, match=r"cron/crontab runs nothing: .*; restore it"):
        render_block(Jobs(template(tmp_path, text), "/python"))


def test_missing_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"cannot read .*cron/crontab: No such file"):
        render_block(Jobs(tmp_path, "/python"))


# --- `luigi-etl crontab` -------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a checkout with a name that needs quoting, and an interpreter; leave its folder."""
    folder = tmp_path.resolve() / 'it\'s 100%\\% "mine"'
    folder.mkdir()
    shutil.copytree(PROJECT / "cron", folder / "cron")
    shutil.copy(PROJECT / "luigi.cfg", folder)
    interpreter = folder / "a % python"
    interpreter.write_text('#!/bin/sh\npwd >seen\nprintf "%s\\n" "$@" >>seen\n')
    interpreter.chmod(0o755)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(folder / "luigi.cfg"))
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.chdir("/")
    return folder


Call = Callable[..., Run]


@pytest.fixture
def crontab_command(capfd: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs `luigi-etl crontab` with options."""

    def call(*options: str) -> Run:
        try:
            code = run(["crontab", *options])
        except SystemExit as refused:  # argparse
            code = int(refused.code or 0)
        return Run(code, *capfd.readouterr())

    return call


def jobs_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def as_cron(job: str, unescape: Callable[[str], str] = CRONS["removes backslash"]) -> Run:
    """Run the command of a crontab's line as cron does."""
    match = re.fullmatch(r"(?:@\w+|(?:\S+ ){4}\S+) (.*)", job)
    assert match
    bare = {"HOME": "/root", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    command = ["/bin/sh", "-c", unescape(match[1])]
    done = subprocess.run(command, cwd="/", env=bare, capture_output=True, text=True)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.usefixtures("checkout")
def test_chain_pruning_and_luigid_are_printed(crontab_command: Call) -> None:
    ran = crontab_command()
    assert (ran.code, ran.err) == (0, "")
    times = [re.split(r" '/", job)[0] for job in jobs_of(ran.out)]
    assert times == ["* * * * *", "17 3 * * *", "@reboot", "*/10 * * * *"]


@pytest.mark.parametrize("unescape", CRONS.values(), ids=CRONS)
def test_cron_runs_each_line_in_the_checkout(
    checkout: Path, crontab_command: Call, unescape: Callable[[str], str]
) -> None:
    called = []
    query = "product=Debt%20collection&company=it%27s+100%25"
    for job in jobs_of(crontab_command("--query", query, "--limit", "5").out):
        assert as_cron(job, unescape) == Run(0, "", "")
        folder, *arguments = (checkout / "seen").read_text().splitlines()
        assert folder == str(checkout)
        called.append(" ".join(arguments))
    module = "-I -m luigi_etl"
    assert called == [
        f"{module} unattended StoreComplaints"
        " --query company=it%27s%20100%25&product=Debt%20collection --limit 5",
        f"{module} unattended PruneSnapshots",
        f"{module} luigid --unless-running",
        f"{module} luigid --unless-running",
    ]


def test_errors_of_luigid_are_mailed_but_not_its_output(checkout: Path, crontab_command: Call) -> None:
    (checkout / "a % python").write_text("#!/bin/sh\necho done; echo wrong >&2\n")
    assert [as_cron(job) for job in jobs_of(crontab_command().out)[2:]] == [Run(0, "", "wrong\n")] * 2


@pytest.mark.usefixtures("checkout")
def test_each_query_has_one_line_in_its_spelling(crontab_command: Call) -> None:
    ran = crontab_command("--query", "state=NY&state=CA", "--query", "state=CA&state=NY", "--query", "")
    chain = [job.partition("StoreComplaints")[2] for job in jobs_of(ran.out) if "StoreComplaints" in job]
    assert chain == [" --query 'state=CA&state=NY'", ""]


@pytest.mark.usefixtures("checkout")
def test_sync_is_not_printed_by_default(crontab_command: Call) -> None:
    assert "SyncComplaints" not in crontab_command("--query", "state=CA").out


@pytest.mark.usefixtures("checkout")
def test_sync_has_a_line_for_each_query(crontab_command: Call) -> None:
    ran = crontab_command("--sync", "--query", "state=CA", "--query", "")
    assert (ran.code, ran.err) == (0, "")
    minutely = [job.partition("unattended ")[2] for job in jobs_of(ran.out) if job.startswith("* * * * * ")]
    assert minutely == [
        "StoreComplaints --query state=CA",
        "StoreComplaints",
        "SyncComplaints --query state=CA",
        "SyncComplaints",
    ]


@pytest.mark.usefixtures("checkout")
def test_limit_applies_only_to_the_chain(crontab_command: Call) -> None:
    jobs = jobs_of(crontab_command("--sync", "--limit", "5").out)
    assert [job.partition("unattended ")[2] for job in jobs[:2]] == [
        "StoreComplaints --limit 5",
        "SyncComplaints",
    ]


@pytest.mark.parametrize("unescape", CRONS.values(), ids=CRONS)
def test_cron_runs_the_sync_with_its_query(
    checkout: Path, crontab_command: Call, unescape: Callable[[str], str]
) -> None:
    query = "company=it%27s%20100%25"
    (job,) = [job for job in jobs_of(crontab_command("--sync", "--query", query).out) if "Sync" in job]
    assert as_cron(job, unescape) == Run(0, "", "")
    assert (checkout / "seen").read_text().splitlines()[4:] == [
        "unattended",
        "SyncComplaints",
        "--query",
        query,
    ]


def test_template_without_the_chain_syncs_only(tmp_path: Path) -> None:
    checkout = template(tmp_path, "* * * * * {run} unattended SyncComplaints{query}\n")
    assert lines(Jobs(checkout, "/python", with_sync=True))[0].endswith(" unattended SyncComplaints")


@pytest.mark.usefixtures("checkout")
def test_ignored_part_of_a_query_is_logged(crontab_command: Call, caplog: pytest.LogCaptureFixture) -> None:
    address = "https://www.consumerfinance.gov/data-research/consumer-complaints/search/?state=CA&tab=Map"
    assert "--query state=CA\n" in crontab_command("--query", address).out
    assert "left out: tab" in caplog.text


@pytest.mark.usefixtures("checkout")
def test_without_luigid_omits_its_lines(crontab_command: Call) -> None:
    assert [job for job in jobs_of(crontab_command("--without-luigid").out) if " luigid" in job] == []


def test_link_of_the_interpreter_is_not_resolved(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = checkout.parent / "python3"
    link.symlink_to("/usr/bin/env")
    monkeypatch.setattr(sys, "executable", str(link))
    assert f"cron/run' {link} unattended" in crontab_command().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--query", "sate=CA"], "the API knows no filter 'sate'; did you mean 'state'?"),
        (["--limit", "-1"], "--limit must be 0 or more"),
        (["--limit", "ten"], "argument --limit: invalid int value: 'ten'"),
        (["--install", "--remove"], "not allowed with argument"),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_invalid_options_are_refused_in_one_line(
    crontab_command: Call, options: list[str], message: str
) -> None:
    ran = crontab_command(*options)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err.splitlines()[-1]


# --- which checkout ------------------------------------------------------------------------------


@pytest.fixture
def installed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that installs this package with a direct_url.json (PEP 610)."""
    monkeypatch.delenv("LUIGI_CONFIG_PATH")
    metadata = checkout.parent / "site" / "luigi_etl-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    monkeypatch.syspath_prepend(metadata.parent)

    def install(direct_url: str) -> None:
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: luigi_etl\nVersion: 0.1.0\n")
        (metadata / "direct_url.json").write_text(direct_url)

    return install


def test_checkout_is_the_source_of_the_installation(
    checkout: Path, crontab_command: Call, installed: Callable[[str], None]
) -> None:
    installed(json.dumps({"url": checkout.as_uri(), "dir_info": {}}))
    assert f"# begin luigi_etl {shlex.quote(str(checkout))}\n" in crontab_command().out


@pytest.mark.parametrize(
    "direct_url",
    [
        "{}",
        "[]",
        "no JSON",
        '{"url": "file:///no/such/folder"}',
        '{"url": "https://a.example/luigi_etl.git"}',
    ],
)
def test_checkout_is_otherwise_the_working_directory(
    checkout: Path,
    crontab_command: Call,
    installed: Callable[[str], None],
    direct_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(direct_url)
    monkeypatch.chdir(checkout)
    assert f"# begin luigi_etl {shlex.quote(str(checkout))}\n" in crontab_command().out


def test_missing_checkout_is_reported_with_a_remedy(
    installed: Callable[[str], None], crontab_command: Call
) -> None:
    installed("{}")
    assert crontab_command() == Run(
        2,
        "",
        "luigi-etl: error: no checkout found, a folder with luigi.cfg and cron/run; change to yours, or set "
        "LUIGI_CONFIG_PATH to its luigi.cfg\n",
    )


def test_configuration_outside_of_a_checkout_is_refused(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout.parent / "luigi.cfg").touch()
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(checkout.parent / "luigi.cfg"))
    ran = crontab_command()
    assert ran.code == 2
    assert ran.err.startswith(f"luigi-etl: error: LUIGI_CONFIG_PATH: {checkout.parent} is not a checkout")


def test_checkout_behind_a_link_has_the_same_name(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = crontab_command().out
    link = checkout.parent / "link"
    link.symlink_to(checkout)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(link / "luigi.cfg"))
    assert crontab_command().out == straight


# --- the program crontab -------------------------------------------------------------------------


def stand_in(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a script before the real program `crontab`, which it finds as $CRONTAB."""
    program = folder / "programs" / "crontab"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nCRONTAB={CRONTAB}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("checkout")
def test_printed_block_is_a_valid_crontab(crontab: UserCrontab, crontab_command: Call) -> None:
    printed = crontab_command("--query", "product=Debt+collection").out.encode()
    crontab.write(printed)
    assert crontab.read() == printed


def test_installing_appends_the_printed_block(
    crontab: UserCrontab, checkout: Path, crontab_command: Call
) -> None:
    crontab.write(STRANGE)
    ran = crontab_command("--install", "--limit", "3")
    assert ran == Run(
        0,
        f"the lines for {checkout} are now in your crontab; see them with `crontab -l`\n"
        "luigid starts at the next boot, or within ten minutes\n",
        "",
    )
    assert crontab.read() == STRANGE + crontab_command("--limit", "3").out.encode()


@pytest.mark.usefixtures("checkout")
def test_installing_creates_a_missing_crontab(crontab: UserCrontab, crontab_command: Call) -> None:
    assert crontab_command("--install").code == 0
    assert crontab.read().decode() == crontab_command().out


def test_installing_again_replaces_the_block_once(
    crontab: UserCrontab, checkout: Path, crontab_command: Call
) -> None:
    crontab_command("--install", "--query", "state=CA")
    crontab.write(crontab.read() + STRANGE)
    changed = crontab_command("--install", "--without-luigid")
    again = crontab_command("--install", "--without-luigid")
    assert (changed.code, changed.err, again.code, again.err) == (0, "", 0, "")
    assert "now in your crontab" in changed.out
    assert again.out == f"the lines for {checkout} are already in your crontab; see them with `crontab -l`\n"
    assert crontab.read() == crontab_command("--without-luigid").out.encode() + STRANGE


def test_removing_restores_the_earlier_crontab(
    crontab: UserCrontab, checkout: Path, crontab_command: Call
) -> None:
    crontab.write(STRANGE)
    crontab_command("--install")
    assert crontab_command("--remove") == Run(
        0, f"the lines for {checkout} were removed from your crontab; a running luigid continues\n", ""
    )
    assert crontab.read() == STRANGE


@pytest.mark.parametrize("before", [b"", STRANGE])
def test_removing_without_a_block_is_reported(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, before: bytes
) -> None:
    if before:
        crontab.write(before)
    assert crontab_command("--remove") == Run(0, f"your crontab has no lines for {checkout}\n", "")
    assert crontab.read() == before


@pytest.mark.usefixtures("checkout")
def test_refused_crontab_leaves_the_old_one(crontab: UserCrontab, crontab_command: Call) -> None:
    crontab.write(STRANGE)
    query = "&".join(f"company={'x' * 190}{number}" for number in range(6))
    ran = crontab_command("--install", "--query", query)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "`crontab FILE` refused the new crontab, the old one stays: " in ran.err
    assert "command too long" in ran.err
    assert crontab.read() == STRANGE


@pytest.mark.parametrize("option", ["--install", "--remove"])
@pytest.mark.usefixtures("checkout")
def test_crontab_with_unpaired_marks_is_not_changed(
    crontab: UserCrontab, crontab_command: Call, option: str
) -> None:
    crontab_command("--install")
    broken = crontab.read().replace(b"# end", b"#end")
    crontab.write(broken)
    ran = crontab_command(option)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert ran.err.startswith("luigi-etl: error: your crontab: line 1, ")
    assert crontab.read() == broken


@pytest.mark.usefixtures("crontab")
def test_missing_crontab_is_found_in_another_locale(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = '[ "$LC_ALL" = C ] || { echo "kein Crontab" >&2; exit 1; }; exec $CRONTAB "$@"'
    stand_in(checkout.parent, message, monkeypatch)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert crontab_command("--install").code == 0


@pytest.mark.parametrize("option", ["--install", "--remove"])
def test_missing_program_crontab_is_reported(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert crontab_command(option) == Run(
        1,
        "",
        "luigi-etl: error: cannot run the program `crontab`: No such file or directory; install cron "
        "(Debian: apt install cron)\n",
    )


@pytest.fixture
def denied() -> Iterator[str]:
    """Deny cron to a user; yield the user's name."""
    deny, allow = Path("/etc/cron.deny"), Path("/etc/cron.allow")
    if os.geteuid() != 0 or not shutil.which("setpriv") or deny.exists() or allow.exists():
        pytest.skip("needs root, setpriv, and no cron.allow or cron.deny")
    deny.write_text("nobody\n")
    deny.chmod(0o644)
    yield "nobody"
    deny.unlink()


@pytest.mark.usefixtures("crontab")
def test_user_denied_by_cron_gets_the_reason(
    denied: str, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_denied = f'exec setpriv --reuid={denied} --clear-groups $CRONTAB "$@"'
    stand_in(checkout.parent, as_denied, monkeypatch)
    ran = crontab_command("--install")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "`crontab -l` failed: You (nobody) are not allowed to use this program" in ran.err
    assert "/etc/cron.deny" in ran.err


def test_ambiguous_escapes_leave_the_crontab_unchanged(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    crontab.write(STRANGE)
    stand_in(checkout.parent, '[ "$1" != -e ] || exec false; exec $CRONTAB "$@"', monkeypatch)
    ran = crontab_command("--install")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert r"your crontab lists `\r` or `\b`, " in ran.err


def test_silent_failure_of_crontab_names_its_exit_code(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(checkout.parent, "exit 3", monkeypatch)
    assert "`crontab -l` failed: exit code 3; " in crontab_command("--install").err


# --- kills and parallel changes ------------------------------------------------------------------


def installer(folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Start `luigi-etl crontab` for a checkout in a new process."""
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(folder / "luigi.cfg")}
    command = [sys.executable, "-I", "-m", "luigi_etl", "crontab", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def new_checkout(folder: Path) -> Path:
    shutil.copytree(PROJECT / "cron", folder / "cron")
    shutil.copy(PROJECT / "luigi.cfg", folder)
    return folder.resolve()


LONG = b"# a comment that is longer than a line of a crontab should be\n" * 2000  # does not fit into a pipe


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--install", "--remove"])
@pytest.mark.parametrize("step", ["list", "install", "list again"])
def test_kill_leaves_the_old_crontab_or_the_new_one(
    crontab: UserCrontab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, step: str
) -> None:
    """The kill comes while the program `crontab` works, which continues alone."""
    checkout = new_checkout(tmp_path / "checkout")
    crontab.write(LONG)
    assert installer(checkout, "--install", "--limit", "3").wait() == 0
    old = crontab.read()
    new = (
        LONG
        if option == "--remove"
        else put_block(old, checkout, render_block(Jobs(checkout, sys.executable)))
    )
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    at = {"list": 1, "install": 2, "list again": 3}[step]
    killing = f'echo >>"$COUNT"; [ $(wc -l <"$COUNT") != {at} ] || kill -9 $PPID; exec $CRONTAB "$@"'
    stand_in(tmp_path, killing, monkeypatch)

    killed = installer(checkout, option)
    killed.communicate()
    monkeypatch.undo()

    found: list[bytes] = []
    change_crontab(lambda left: found.append(left) or left)  # type: ignore[func-returns-value]
    assert killed.returncode == -signal.SIGKILL
    assert found == [old if step == "list" else new]


@pytest.mark.slow
def test_twenty_random_kills_lose_no_line(crontab: UserCrontab, tmp_path: Path) -> None:
    checkout = new_checkout(tmp_path / "checkout")
    crontab.write(LONG)
    generator = random.Random(5)

    for turn in range(20):
        process = installer(checkout, "--install", "--limit", str(turn))
        time.sleep(generator.uniform(0.1, 0.4))
        process.kill()
        process.communicate()

        assert crontab.read().startswith(LONG)
        assert crontab.read() == put_block(LONG, checkout, find_block(crontab.read(), checkout))


@pytest.mark.slow
def test_parallel_installs_keep_all_blocks(
    crontab: UserCrontab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, '$CRONTAB "$@"; code=$?; [ "$1" != -l ] || sleep 0.2; exit $code', monkeypatch)
    crontab.write(STRANGE)
    checkouts = [new_checkout(tmp_path / f"checkout {number}") for number in range(3)]

    processes = [installer(checkout, "--install") for checkout in checkouts]

    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 3
    assert all(find_block(crontab.read(), checkout) for checkout in checkouts)
    assert crontab.read().startswith(STRANGE)


def test_lock_held_too_long_is_one_line(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = checkout.parent / "own"
    own.mkdir(mode=0o700)
    monkeypatch.setattr(change, "own_folders", lambda: [own])
    monkeypatch.setattr(change, "LOCK_SECONDS", 0.1)

    with (own / "crontab.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "your crontab: locked by another `luigi-etl crontab` for" in ran.err
    assert crontab.read() == b""


def test_folder_that_others_can_write_is_not_used(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user who can write there could replace the new crontab."""
    loose = checkout.parent / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    monkeypatch.setattr(change, "own_folders", lambda: [loose])

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert f"cannot lock your crontab ({loose}: others can write it); give access" in ran.err
    assert (crontab.read(), list(loose.iterdir())) == (b"", [])


@pytest.mark.usefixtures("crontab")
def test_folder_without_locks_is_not_used(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some NFS servers do not support locks."""
    homes = [checkout.parent / "nfs", checkout.parent / "own"]
    monkeypatch.setattr(change, "own_folders", lambda: homes)
    real = fcntl.flock

    def flock(file: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().parent == homes[0]:
            raise OSError(errno.ENOLCK, "No locks available")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)

    assert crontab_command("--install").code == 0
    assert [path.name for path in homes[1].iterdir()] == ["crontab.lock"]


@pytest.mark.usefixtures("crontab")
def test_temporary_crontab_is_private_and_removed(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = checkout.parent / "own"
    monkeypatch.setattr(change, "own_folders", lambda: [own])
    stand_in(
        checkout.parent, '[ "$1" = -l ] || stat -c %a "$1" >"${1%/*}/mode"; exec $CRONTAB "$@"', monkeypatch
    )
    before = os.umask(0)
    try:
        assert crontab_command("--install").code == 0
    finally:
        os.umask(before)

    assert (own / "mode").read_text() == "600\n"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert not (own / "crontab.new").exists()


@pytest.mark.parametrize("option", ["--install", "--remove"])
@pytest.mark.usefixtures("checkout")
def test_crontab_that_differs_after_installing_is_reported(
    crontab: UserCrontab, crontab_command: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    crontab_command("--install", "--limit", "3")
    before = crontab.read()
    stand_in(tmp_path, '[ "$1" = -l ] || exit 0; exec $CRONTAB "$@"', monkeypatch)

    ran = crontab_command(option)

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "`crontab -l` differs from the installed crontab" in ran.err
    assert crontab.read() == before


def test_full_disk_leaves_the_old_crontab(
    crontab: UserCrontab,
    small_disk: Path,
    tmp_path: Path,
    crontab_command: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(new_checkout(tmp_path / "checkout") / "luigi.cfg"))
    small_disk.chmod(0o700)
    monkeypatch.setattr(change, "own_folders", lambda: [small_disk])
    crontab.write(LONG)

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert (
        f"cannot write {small_disk}/crontab.new: No space left on device; your crontab is unchanged"
        in ran.err
    )
    assert crontab.read() == LONG


# --- other implementations of crontab ------------------------------------------------------------

# Behaves like BusyBox 1.35, with its own spool.
BUSYBOX = """
spool={spool}
fail() {{ echo "crontab: can't $1: No such file or directory" >&2; exit 1; }}
cd "$spool" 2>/dev/null || fail "change directory to '$spool'"
case $1 in
-l) [ -e root ] && exec cat root; fail "open 'root'" ;;
-e) exec ${{VISUAL:-$EDITOR}} root ;;
-*) exit 1 ;;
esac
cat "$1" >root.new && mv root.new root
"""


@pytest.fixture
def busybox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the program `crontab` by a stand-in for BusyBox'; return its spool."""
    spool = tmp_path / "spool"
    spool.mkdir()
    stand_in(tmp_path, BUSYBOX.format(spool=spool), monkeypatch)
    return spool


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("before", [None, STRANGE])
def test_busybox_installs_and_removes_the_block(
    busybox: Path, crontab_command: Call, before: bytes | None
) -> None:
    if before is not None:
        (busybox / "root").write_bytes(before)

    installed = crontab_command("--install")
    block = crontab_command().out.encode()
    content = (busybox / "root").read_bytes()
    removed = crontab_command("--remove")

    assert (installed.code, installed.err, removed.code, removed.err) == (0, "", 0, "")
    assert content == (before or b"") + block
    assert (busybox / "root").read_bytes() == (before or b"")


@pytest.mark.usefixtures("checkout")
def test_busybox_without_its_spool_is_reported(busybox: Path, crontab_command: Call) -> None:
    busybox.rmdir()
    ran = crontab_command("--install")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "`crontab -l` failed: crontab: can't change directory to" in ran.err


@pytest.mark.slow
@pytest.mark.usefixtures("crontab")
def test_real_busybox_installs_and_removes_the_block(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("busybox")
    applets = subprocess.run([program, "--list"], capture_output=True, text=True).stdout if program else ""
    if "crontab" not in applets.split() or os.getuid() != 0:
        pytest.skip("needs root and a BusyBox with crontab (Debian: apt install busybox-static)")
    stand_in(checkout.parent, f'exec {program} crontab "$@"', monkeypatch)

    installed = crontab_command("--install")
    content = Path("/var/spool/cron/crontabs/root").read_bytes()
    removed = crontab_command("--remove")

    assert (installed.code, installed.err, removed.code, removed.err) == (0, "", 0, "")
    assert content == crontab_command().out.encode()


@pytest.mark.parametrize(
    "message",
    [
        "",
        "crontab: can't open 'root': Permission denied",
        "crontab: can't open '/etc/passwd': No such file or directory",
        "Authentication service cannot retrieve authentication info",
    ],
)
def test_error_is_not_a_missing_crontab(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    crontab.write(STRANGE)
    refusing = f'[ "$1" != -l ] || {{ echo "{message}" >&2; exit 1; }}; exec $CRONTAB "$@"'
    stand_in(checkout.parent, refusing, monkeypatch)

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert f"`crontab -l` failed: {message or 'exit code 1'}; " in ran.err
    assert crontab.read() == STRANGE


# --- cron/run ------------------------------------------------------------------------------------


def wrapper(*command: str, cwd: Path = Path("/"), **environment: str) -> Run:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("inside", "command"),
    [("", ["cron/run"]), ("cron", ["./run"]), ("cron", ["/bin/sh", "run"]), ("luigi.d", ["../cron/run"])],
)
def test_wrapper_finds_its_checkout(checkout: Path, inside: str, command: list[str]) -> None:
    (checkout / "luigi.d").mkdir()
    called = wrapper(*command, "./a % python", "x", "--y=a b", cwd=checkout / inside, CDPATH="/usr")
    assert called == Run(0, "", "")
    assert (checkout / "seen").read_text() == f"{checkout}\n-I\n-m\nluigi_etl\nx\n--y=a b\n"


def test_wrapper_needs_no_path(checkout: Path) -> None:
    script = checkout / "a % python"
    script.write_text("#!/bin/sh\npwd\n")
    assert wrapper(str(checkout / "cron/run"), str(script), "x", PATH="/nowhere").out == f"{checkout}\n"


def without_luigi_etl(folder: Path) -> Path:
    """Return an interpreter without luigi_etl, as after an upgrade of Python."""
    real = Path("/proc/self/exe").resolve()  # sys.executable may be a script
    (folder / "pyvenv.cfg").write_text(f"home = {real.parent}\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(real)
    return folder / "bin" / "python"


def broken(kind: str, checkout: Path) -> Path:
    """Return an interpreter that can't run luigi_etl."""
    python = checkout / "python"
    if kind == "upgraded":
        return without_luigi_etl(checkout)
    if kind == "link to nothing":
        python.symlink_to("/no/such/python")
    elif kind == "folder":
        python.mkdir()
    elif kind == "not executable":
        python.touch()
    elif kind == "crashes":
        python.write_text("#!/bin/sh\necho first >&2; echo no such library >&2; exit 127\n")
        python.chmod(0o755)
    return python


PATH = "/usr/bin:/bin"  # as cron has it
KINDS = ["missing", "link to nothing", "folder", "not executable", "upgraded", "crashes"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("service", [True, False])
def test_broken_interpreter_is_reported_once(checkout: Path, kind: str, service: bool) -> None:
    python = broken(kind, checkout)
    temporary = checkout.parent / "tmp"
    temporary.mkdir()
    if service:
        (checkout / "service").mkdir()

    def called() -> Run:
        return wrapper(str(checkout / "cron/run"), str(python), "luigid", PATH=PATH, TMPDIR=str(temporary))

    first, second = called(), called()

    assert [(run.code, run.out, run.err.count("\n")) for run in (first, second)] == [
        (127, "", 1),
        (127, "", 0),
    ]
    why = {
        "upgraded": f"{python} can't run luigi_etl (No module named luigi_etl, ",
        "crashes": "(no such library)",
    }
    assert why.get(kind, f"there is no interpreter {python} any more; ") in first.err
    assert first.err.endswith(
        f"; install luigi_etl again in {checkout}, then run luigi-etl crontab --install\n"
    )
    assert [path.name for path in (checkout / "service").glob("*")] == ["cron-run.reported"] * service


def test_second_interpreter_outage_is_reported_again(checkout: Path) -> None:
    works = checkout / "a % python"
    told = []
    for python in (checkout / "gone", works, checkout / "gone"):
        command = [str(checkout / "cron/run"), str(python), "luigid"]
        told.append(wrapper(*command, PATH=PATH, TMPDIR=str(checkout.parent)).err)
    assert [message.count("\n") for message in told] == [1, 0, 1]


@pytest.mark.parametrize("name", ["tee told", "tee 'told'", 'tee  "told"', r"t\ee told"])
@pytest.mark.parametrize(
    "before", ["[service]\nnotify=", "[x]\nnotify=false\n[service]\nfolder=y\nnotify : "]
)
def test_broken_interpreter_is_reported_to_notify(checkout: Path, before: str, name: str) -> None:
    (checkout / "luigi.cfg").write_text(f"{before}{name}\n[storage]\nnotify=false\n")
    run = wrapper(str(checkout / "cron/run"), "/no/such/python", "luigid", PATH=PATH, TMPDIR="/nowhere")
    assert (run.code, run.out, run.err) == (127, "", "")
    assert (
        (checkout / "told")
        .read_text()
        .startswith(f"luigi_etl on {os.uname().nodename}: there is no interpreter /no/such/python any more; ")
    )


@pytest.mark.parametrize(
    "notify", ["false", "/no/such", "sh -c 'echo s3cret; exit 1'", "tee ${HOME}", "tee %(x)s", "'"]
)
def test_broken_interpreter_is_on_stderr_if_notify_fails(checkout: Path, notify: str) -> None:
    (checkout / "luigi.cfg").write_text(f"[service]\nnotify={notify}\n")
    run = wrapper(str(checkout / "cron/run"), "/no/such/python", "luigid", PATH=PATH, TMPDIR="/nowhere")
    assert (run.code, run.out, run.err.count("\n")) == (127, "", 1)
    assert "there is no interpreter" in run.err


def test_notify_command_is_not_expanded(checkout: Path) -> None:
    (checkout / "luigi.cfg").write_text(
        "[service]\nnotify=tee told $(touch,pwned) `touch,pwned` ; touch pwned *\n"
    )
    (checkout / "*").write_text("")
    wrapper(str(checkout / "cron/run"), "/no/such/python", "luigid", PATH=PATH, TMPDIR="/nowhere")
    assert (checkout / "told").exists()
    assert (checkout / "pwned").read_text().startswith("luigi_etl on ")  # written by tee, not by touch
    assert (checkout / "$(touch,pwned)").exists()


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh", "mksh", "ksh"])
def test_wrapper_works_with_every_shell(checkout: Path, shell: str) -> None:
    program, *options = shell.split()
    path = shutil.which(program)
    if not path:
        pytest.skip(f"there is no {program}")
    (checkout / "service").mkdir()
    run = [path, *options, str(checkout / "cron/run")]
    told = [
        wrapper(*run, str(python), "x", PATH=PATH)
        for python in (checkout / "gone", checkout / "gone", checkout / "a % python")
    ]
    assert [(one.code, one.err.count("\n")) for one in told] == [(127, 1), (127, 0), (0, 0)]
    assert not list((checkout / "service").iterdir())


def test_wrapper_without_a_command_prints_its_usage(checkout: Path) -> None:
    called = wrapper(str(checkout / "cron/run"), "/python")
    assert (called.code, called.err) == (2, f"usage: {checkout}/cron/run PYTHON COMMAND [options]\n")


@pytest.mark.slow
def test_wrapper_runs_the_installed_package(
    tmp_path: Path,
) -> None:
    for folder in (tmp_path / "checkout", tmp_path / "path"):
        (folder / "luigi_etl").mkdir(parents=True)
        (folder / "luigi_etl" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    shutil.copytree(PROJECT / "cron", tmp_path / "checkout" / "cron")
    called = wrapper(
        str(tmp_path / "checkout/cron/run"),
        sys.executable,
        "crontab",
        "--help",
        PYTHONPATH=str(tmp_path / "path"),
    )
    assert (called.code, called.err) == (0, "")
    assert "usage: luigi-etl crontab" in called.out


@pytest.mark.slow
def test_program_prints_this_checkout_and_interpreter() -> None:
    python = Path(sys.executable)
    bare = {name: value for name, value in os.environ.items() if name != "LUIGI_CONFIG_PATH"}
    called = wrapper(str(python.parent / "luigi-etl"), "crontab", cwd=PROJECT, **bare)
    assert (called.code, called.err) == (0, "")
    printed = shlex.split(jobs_of(called.out)[1].replace(r"\%", "%"))[5:7]
    assert printed[0] == str(PROJECT / "cron" / "run")
    assert Path(printed[1]).parent == python.parent
