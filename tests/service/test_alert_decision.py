"""The messages of unattended runs: one for a cause, one a day while it lasts, one at its end."""

from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from luigi_etl.common.job_state import JobState
from luigi_etl.common.reason import LONGEST_REASON
from luigi_etl.service.alert_decision import after_failure, after_success
from luigi_etl.service.failure_causes import MOST_CAUSES, MOST_JOBS, ROOM, Causes, Who
from luigi_etl.service.run_result import Ended

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
RUN = timedelta(seconds=10)
ONE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FULL = "ExtractComplaints: cannot write data/snapshots/{job}/x: No space left on device; make room"


class Folder:
    """The jobs of a `[service]` folder, with what they remember."""

    def __init__(self) -> None:
        self.causes = Causes()
        self.memories: dict[str, JobState] = {}

    def fails(
        self, at: datetime, error: str = "no network", job: str = "StoreComplaints.all", took: timedelta = RUN
    ) -> str:
        """Let a run that began at a moment fail; return the message."""
        memory, who = self.memories.get(job, JobState()), Who(job, job, "/srv/a.log")
        told = after_failure(memory, self.causes, Ended(at, at + took, 30, error), who)
        self.memories[job], self.causes = told.memory, told.causes
        assert bool(told.message) != bool(told.note)
        return told.message

    def works(self, at: datetime, job: str = "StoreComplaints.all") -> str:
        """Let a run that ended at a moment succeed; return the message."""
        memory, who = self.memories.get(job, JobState()), Who(job, job)
        told = after_success(memory, self.causes, Ended(at - RUN, at, 0), who)
        self.memories[job], self.causes = told.memory, told.causes
        return told.message


@pytest.fixture
def folder() -> Folder:
    return Folder()


# --- one job -------------------------------------------------------------------------------------


def test_a_success_after_a_success_is_not_told(folder: Folder) -> None:
    assert folder.works(NOON) == ""
    assert folder.memories["StoreComplaints.all"].last_success == NOON


def test_the_first_failure_tells_what_failed_when_why_and_where_to_look(folder: Folder) -> None:
    assert folder.fails(NOON) == (
        "StoreComplaints.all of 2026-11-22 12:00 UTC failed (exit code 30): no network; "
        "its log is /srv/a.log; the next message comes when it works again, or after a day"
    )
    memory = folder.memories["StoreComplaints.all"]
    assert (memory.failures, memory.failing_since, memory.first_error) == (1, NOON, "no network")


def test_a_log_that_does_not_exist_is_not_named() -> None:
    told = after_failure(JobState(), Causes(), Ended(NOON, NOON, 30, "no network"), Who("job", "job"))

    assert "its log" not in told.message


def test_further_failures_of_a_cause_are_counted_and_not_told(folder: Folder) -> None:
    folder.fails(NOON, "attempt 11 of 11: status 503")

    assert [folder.fails(NOON + minute * ONE, "attempt 1 of 1: status 500") for minute in (1, 2)] == ["", ""]
    assert folder.memories["StoreComplaints.all"].failures == 3


@pytest.mark.parametrize(
    ("time", "lasted"),
    [
        (timedelta(seconds=61), "61 seconds"),
        (timedelta(minutes=48), "48 minutes"),
        (timedelta(hours=30), "30 hours"),
        (timedelta(days=9), "9 days"),
        (timedelta(minutes=-5), "an unknown time (the clock was set back meanwhile)"),
    ],
)
def test_the_end_of_an_outage_tells_how_long_it_lasted(folder: Folder, time: timedelta, lasted: str) -> None:
    folder.fails(NOON)
    folder.fails(NOON + timedelta(seconds=30))

    message = folder.works(NOON + time)

    assert message.endswith(f", after {lasted}: 2 runs failed, the first of 2026-11-22 12:00 UTC: no network")
    memory = folder.memories["StoreComplaints.all"]
    assert (memory.failures, memory.failing_since, memory.first_error, memory.cause) == (0, None, "", "")


def test_the_end_of_an_outage_is_told_once(folder: Folder) -> None:
    folder.fails(NOON)

    assert [bool(folder.works(NOON + minute * ONE)) for minute in (1, 2)] == [True, False]


def test_the_next_outage_is_told_again(folder: Folder) -> None:
    folder.fails(NOON)
    folder.works(NOON + ONE)

    assert folder.fails(NOON + 2 * ONE) != ""


def test_an_endless_error_is_cut(folder: Folder) -> None:
    assert folder.fails(NOON, "x" * 10_000).count("x") < LONGEST_REASON + 10


def test_an_outage_is_told_again_once_a_day(folder: Folder) -> None:
    told = [folder.fails(NOON + hour * HOUR) for hour in range(73)]

    assert [hour for hour, message in enumerate(told) if message] == [0, 24, 48, 72]
    assert told[24].startswith(
        "StoreComplaints.all still fails, since 2026-11-22 12:00 UTC, 25 runs: no network; its log is "
    )


def test_another_reason_is_told_once_a_day_however_often_it_changes(folder: Folder) -> None:
    told = [folder.fails(NOON + minute * ONE, f"reason {chr(97 + minute % 7)}") for minute in range(24 * 60)]

    first, changed = filter(None, told)
    assert "failed (exit code 30): reason a;" in first
    assert (
        "still fails, since 2026-11-22 12:00 UTC, now for another reason (exit code 30): reason b" in changed
    )
    assert folder.fails(NOON + DAY + 2 * ONE, "reason z") != ""
    assert ": 1,441 runs failed, the first of 2026-11-22 12:00 UTC: reason a" in folder.works(NOON + 2 * DAY)


# --- several jobs --------------------------------------------------------------------------------


def test_one_cause_of_four_jobs_is_one_message_and_one_end(folder: Folder) -> None:
    jobs = ["a", "b", "c", "d"]

    begun = [folder.fails(NOON + RUN * at, FULL.format(job=job), job) for at, job in enumerate(jobs * 3)]
    ended = [folder.works(NOON + HOUR + RUN * at, job) for at, job in enumerate(jobs * 2)]

    assert [bool(message) for message in begun] == [True] + [False] * 11
    assert [bool(message) for message in ended] == [False] * 3 + [True] + [False] * 4
    assert (
        "d works again since 2026-11-22 13:00 UTC, after 60 minutes: 12 runs of 4 jobs failed, " in ended[3]
    )
    assert (
        "the first a of 2026-11-22 12:00 UTC: ExtractComplaints: cannot write data/snapshots/a/x" in ended[3]
    )


def test_two_causes_are_two_messages_and_two_ends(folder: Folder) -> None:
    assert folder.fails(NOON, "status 400: state: 'XX' is not a value", "a")
    assert folder.fails(NOON, "no network", "b")

    assert folder.works(NOON + ONE, "b").startswith("b works again")
    assert folder.works(NOON + ONE, "a").startswith("a works again")


def test_a_run_that_began_before_the_end_and_fails_after_it_is_not_told(folder: Folder) -> None:
    folder.fails(NOON, job="a")
    assert folder.works(NOON + 5 * ONE, "a")

    assert folder.fails(NOON + ONE, job="b", took=6 * ONE) == ""
    assert folder.works(NOON + 8 * ONE, "b") == ""
    assert folder.fails(NOON + 9 * ONE, job="b") != ""


def test_a_job_that_never_runs_again_does_not_keep_an_outage_open(folder: Folder) -> None:
    for job in ("nightly", "a"):
        folder.fails(NOON, job=job)
    assert folder.works(NOON + ONE, "a") == ""

    assert folder.works(NOON + HOUR, "a") == ""  # it failed ten seconds after noon
    assert "2 runs of 2 jobs failed" in folder.works(NOON + HOUR + ONE, "a")
    assert folder.fails(NOON + HOUR + 2 * ONE, job="a") != ""


def test_a_cause_that_one_job_met_long_ago_does_not_hide_that_of_another(folder: Folder) -> None:
    folder.fails(NOON, job="given up")

    assert folder.fails(NOON + 2 * HOUR, job="a") != ""


def test_what_remains_when_the_job_that_was_named_works_is_told(folder: Folder) -> None:
    error = "cannot write data/snapshots/{}/x: Permission denied"
    assert folder.fails(NOON, error.format("a"), "a")
    assert folder.fails(NOON, error.format("b"), "b") == ""
    assert folder.works(NOON + ONE, "a") == ""

    assert "/b/x: Permission denied" in folder.fails(NOON + 2 * ONE, error.format("b"), "b")
    assert folder.fails(NOON + 3 * ONE, error.format("b"), "b") == ""


def test_a_reason_that_a_job_leaves_goes_on_for_the_others(folder: Folder) -> None:
    for job in ("a", "b"):
        folder.fails(NOON, job=job)
    assert folder.fails(NOON + ONE, "refused", "a") != ""

    assert "a works again" in folder.works(NOON + 2 * ONE, "a")
    assert "b works again" in folder.works(NOON + 2 * ONE, "b")
    assert folder.causes.active == ()


def test_a_clock_that_was_ahead_hides_nothing_once_it_is_right(folder: Folder) -> None:
    folder.fails(NOON + 30 * DAY, job="a")
    folder.fails(NOON + 30 * DAY, "status 400", "b")
    folder.works(NOON + 30 * DAY + ONE, "b")

    assert folder.fails(NOON, job="a") != ""
    assert folder.fails(NOON + ONE, job="a") == ""
    assert folder.fails(NOON, "status 400", "b") != ""
    assert folder.fails(NOON, "status 400", "c") == ""


# --- what is remembered --------------------------------------------------------------------------


def test_an_outage_of_an_older_version_ends_with_its_message(folder: Folder) -> None:
    folder.memories["a"] = JobState(failures=3, failing_since=NOON, first_error="no network")

    message = folder.works(NOON + HOUR, "a")

    assert message == (
        "a works again since 2026-11-22 12:59 UTC, after 60 minutes: 3 runs failed, "
        "the first of 2026-11-22 12:00 UTC: no network"
    )


def test_causes_that_were_lost_do_not_lose_the_end(folder: Folder) -> None:
    folder.fails(NOON)
    folder.causes = Causes()

    assert "1 run failed" in folder.works(NOON + ONE)


def test_the_largest_list_fits_its_room(folder: Folder) -> None:
    for cause in range(MOST_CAUSES + 2):
        for job in range(MOST_JOBS + 2):
            folder.fails(NOON, chr(97 + cause) + "\\" * LONGEST_REASON, f"{cause}.{job}")
            if job % 2:
                folder.works(NOON, f"{cause}.{job}")

    assert len(msgspec.json.encode(folder.causes)) < ROOM
