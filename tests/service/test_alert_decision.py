"""Messages about results of unattended runs: one per cause, one a day while it lasts, one at its end."""

from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from luigi_etl.common.job_state import JobState
from luigi_etl.common.reason import LONGEST_REASON
from luigi_etl.service.alert_decision import AlertDecision, decide
from luigi_etl.service.failure_causes import MOST_CAUSES, MOST_JOBS, ROOM, Causes, JobLabel
from luigi_etl.service.run_result import RunResult

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
RUN = timedelta(seconds=10)
ONE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FULL = "ExtractComplaints: cannot write data/snapshots/{job}/x: No space left on device; make room"


class Folder:
    """The jobs of a `[service]` folder, with their states."""

    def __init__(self) -> None:
        self.causes = Causes()
        self.states: dict[str, JobState] = {}

    def fails(
        self, at: datetime, error: str = "no network", job: str = "StoreComplaints.all", took: timedelta = RUN
    ) -> str:
        """Let a run that began at a moment fail; return the message."""
        decision = self._decide(JobLabel(job, job, "/srv/a.log"), RunResult(at, at + took, 30, error))
        assert bool(decision.message) != bool(decision.note)
        return decision.message

    def works(self, at: datetime, job: str = "StoreComplaints.all") -> str:
        """Let a run that ended at a moment succeed; return the message."""
        return self._decide(JobLabel(job, job), RunResult(at - RUN, at, 0)).message

    def _decide(self, job: JobLabel, result: RunResult) -> AlertDecision:
        decision = decide(job, self.states.get(job.name, JobState()), self.causes, result)
        self.states[job.name], self.causes = decision.state, decision.causes
        return decision


@pytest.fixture
def folder() -> Folder:
    return Folder()


# --- one job -------------------------------------------------------------------------------------


def test_success_after_success_needs_no_message(folder: Folder) -> None:
    assert folder.works(NOON) == ""
    assert folder.states["StoreComplaints.all"].last_success == NOON


def test_first_failure_is_reported_with_time_reason_and_log(folder: Folder) -> None:
    assert folder.fails(NOON) == (
        "StoreComplaints.all of 2026-11-22 12:00 UTC failed (exit code 30): no network; "
        "its log is /srv/a.log; the next message comes when it works again, or after a day"
    )
    memory = folder.states["StoreComplaints.all"]
    assert (memory.failures, memory.failing_since, memory.first_error) == (1, NOON, "no network")


def test_missing_log_is_not_named() -> None:
    result = RunResult(NOON, NOON, 30, "no network")

    decision = decide(JobLabel("job", "job"), JobState(), Causes(), result)

    assert "its log" not in decision.message


def test_further_failures_are_counted_not_reported(folder: Folder) -> None:
    folder.fails(NOON, "attempt 11 of 11: status 503")

    assert [folder.fails(NOON + minute * ONE, "attempt 1 of 1: status 500") for minute in (1, 2)] == ["", ""]
    assert folder.states["StoreComplaints.all"].failures == 3


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
def test_end_of_outage_is_reported_with_its_duration(folder: Folder, time: timedelta, lasted: str) -> None:
    folder.fails(NOON)
    folder.fails(NOON + timedelta(seconds=30))

    message = folder.works(NOON + time)

    assert message.endswith(f", after {lasted}: 2 runs failed, the first of 2026-11-22 12:00 UTC: no network")
    memory = folder.states["StoreComplaints.all"]
    assert (memory.failures, memory.failing_since, memory.first_error, memory.cause) == (0, None, "", "")


def test_end_of_outage_is_reported_once(folder: Folder) -> None:
    folder.fails(NOON)

    assert [bool(folder.works(NOON + minute * ONE)) for minute in (1, 2)] == [True, False]


def test_next_outage_is_reported_again(folder: Folder) -> None:
    folder.fails(NOON)
    folder.works(NOON + ONE)

    assert folder.fails(NOON + 2 * ONE) != ""


def test_long_error_is_cut(folder: Folder) -> None:
    assert folder.fails(NOON, "x" * 10_000).count("x") < LONGEST_REASON + 10


def test_outage_is_reported_again_once_a_day(folder: Folder) -> None:
    messages = [folder.fails(NOON + hour * HOUR) for hour in range(73)]

    assert [hour for hour, message in enumerate(messages) if message] == [0, 24, 48, 72]
    assert messages[24].startswith(
        "StoreComplaints.all still fails, since 2026-11-22 12:00 UTC, 25 runs: no network; its log is "
    )


def test_changing_reason_is_reported_once_a_day(folder: Folder) -> None:
    messages = [
        folder.fails(NOON + minute * ONE, f"reason {chr(97 + minute % 7)}") for minute in range(24 * 60)
    ]

    first, changed = filter(None, messages)

    assert "failed (exit code 30): reason a;" in first
    assert (
        "still fails, since 2026-11-22 12:00 UTC, now for another reason (exit code 30): reason b" in changed
    )
    assert folder.fails(NOON + DAY + 2 * ONE, "reason z") != ""
    assert ": 1,441 runs failed, the first of 2026-11-22 12:00 UTC: reason a" in folder.works(NOON + 2 * DAY)


# --- several jobs --------------------------------------------------------------------------------


def test_one_cause_of_four_jobs_has_one_message_and_one_end(folder: Folder) -> None:
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


def test_two_causes_have_two_messages_and_two_ends(folder: Folder) -> None:
    assert folder.fails(NOON, "status 400: state: 'XX' is not a value", "a")
    assert folder.fails(NOON, "no network", "b")

    assert folder.works(NOON + ONE, "b").startswith("b works again")
    assert folder.works(NOON + ONE, "a").startswith("a works again")


def test_failure_of_run_begun_before_the_end_is_not_reported(folder: Folder) -> None:
    folder.fails(NOON, job="a")
    assert folder.works(NOON + 5 * ONE, "a")

    assert folder.fails(NOON + ONE, job="b", took=6 * ONE) == ""
    assert folder.works(NOON + 8 * ONE, "b") == ""
    assert folder.fails(NOON + 9 * ONE, job="b") != ""


def test_job_that_stopped_running_does_not_keep_outage_open(folder: Folder) -> None:
    for job in ("nightly", "a"):
        folder.fails(NOON, job=job)
    assert folder.works(NOON + ONE, "a") == ""

    assert folder.works(NOON + HOUR, "a") == ""  # it failed ten seconds after noon
    assert "2 runs of 2 jobs failed" in folder.works(NOON + HOUR + ONE, "a")
    assert folder.fails(NOON + HOUR + 2 * ONE, job="a") != ""


def test_stale_cause_does_not_hide_failure_of_another_job(folder: Folder) -> None:
    folder.fails(NOON, job="given up")

    assert folder.fails(NOON + 2 * HOUR, job="a") != ""


def test_other_error_is_reported_when_the_reported_job_works(folder: Folder) -> None:
    error = "cannot write data/snapshots/{}/x: Permission denied"
    assert folder.fails(NOON, error.format("a"), "a")
    assert folder.fails(NOON, error.format("b"), "b") == ""
    assert folder.works(NOON + ONE, "a") == ""

    assert "/b/x: Permission denied" in folder.fails(NOON + 2 * ONE, error.format("b"), "b")
    assert folder.fails(NOON + 3 * ONE, error.format("b"), "b") == ""


def test_cause_that_one_job_leaves_stays_active_for_others(folder: Folder) -> None:
    for job in ("a", "b"):
        folder.fails(NOON, job=job)
    assert folder.fails(NOON + ONE, "refused", "a") != ""

    assert "a works again" in folder.works(NOON + 2 * ONE, "a")
    assert "b works again" in folder.works(NOON + 2 * ONE, "b")
    assert folder.causes.active == ()


def test_clock_that_was_ahead_hides_no_later_failure(folder: Folder) -> None:
    folder.fails(NOON + 30 * DAY, job="a")
    folder.fails(NOON + 30 * DAY, "status 400", "b")
    folder.works(NOON + 30 * DAY + ONE, "b")

    assert folder.fails(NOON, job="a") != ""
    assert folder.fails(NOON + ONE, job="a") == ""
    assert folder.fails(NOON, "status 400", "b") != ""
    assert folder.fails(NOON, "status 400", "c") == ""


# --- stored state --------------------------------------------------------------------------------


def test_outage_recorded_by_older_version_ends_with_message(folder: Folder) -> None:
    folder.states["a"] = JobState(failures=3, failing_since=NOON, first_error="no network")

    message = folder.works(NOON + HOUR, "a")

    assert message == (
        "a works again since 2026-11-22 12:59 UTC, after 60 minutes: 3 runs failed, "
        "the first of 2026-11-22 12:00 UTC: no network"
    )


def test_end_is_reported_even_if_causes_are_lost(folder: Folder) -> None:
    folder.fails(NOON)
    folder.causes = Causes()

    assert "1 run failed" in folder.works(NOON + ONE)


def test_largest_list_of_causes_fits_its_room(folder: Folder) -> None:
    for cause in range(MOST_CAUSES + 2):
        for job in range(MOST_JOBS + 2):
            folder.fails(NOON, chr(97 + cause) + "\\" * LONGEST_REASON, f"{cause}.{job}")
            if job % 2:
                folder.works(NOON, f"{cause}.{job}")

    assert len(msgspec.json.encode(folder.causes)) < ROOM
