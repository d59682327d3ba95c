"""`luigi-etl crontab` prints the block; cron runs its lines."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from luigi_etl.service.crontab.block import Jobs
from tests.conftest import Run
from tests.service.crontab.helpers import CRONS, Call, create_checkout, jobs_of, render_jobs, run_as_cron


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
        assert run_as_cron(job, unescape) == Run(0, "", "")
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

    assert [run_as_cron(job) for job in jobs_of(crontab_command().out)[2:]] == [Run(0, "", "wrong\n")] * 2


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
@pytest.mark.parametrize(
    ("options", "count"),
    [(("--sync",), 1), (("--sync", "--query", "state=CA"), 0), (("--query", ""), 0)],
)
def test_sync_of_all_complaints_reconciles_each_day(
    crontab_command: Call, options: tuple[str, ...], count: int
) -> None:
    """The daily file holds all complaints."""
    jobs = jobs_of(crontab_command(*options).out)

    assert sum(job.endswith("unattended ReconcileComplaints") for job in jobs) == count


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

    assert run_as_cron(job, unescape) == Run(0, "", "")
    assert (checkout / "seen").read_text().splitlines()[4:] == [
        "unattended",
        "SyncComplaints",
        "--query",
        query,
    ]


def test_template_without_the_chain_syncs_only(tmp_path: Path) -> None:
    checkout = create_checkout(tmp_path, "* * * * * {run} unattended SyncComplaints{query}\n")

    assert render_jobs(Jobs(checkout, "/python", with_sync=True))[0].endswith(" unattended SyncComplaints")


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
