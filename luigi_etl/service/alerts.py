"""Alerts about the results of unattended runs: deliver the message and store the new state."""

import logging

from luigi_etl.common.job_state import Job, JobState
from luigi_etl.common.state_file import StateFile
from luigi_etl.service.alert_decision import decide
from luigi_etl.service.failure_causes import ROOM, Causes, JobLabel
from luigi_etl.service.notify import deliver
from luigi_etl.service.run_result import RunResult

logger = logging.getLogger("luigi_etl.unattended")


def send_alert(job: Job, label: JobLabel, state: JobState, result: RunResult, notify: str) -> JobState:
    """Send a message if the result of a run needs one; store and return the job's new state.

    `notify` is the command of the setting; without one the message goes to standard error.
    """
    shared = StateFile(".outages", job.folder, Causes, ROOM)
    with shared.locked():
        causes = shared.read()
        decision = decide(label, state, causes, result)
        if decision.note:
            logger.info("%s", decision.note)
        if decision.message:
            _deliver(decision.message, notify)
        job.write_state(decision.state)  # after the delivery: two messages are better than none
        if decision.causes != causes or not causes.written:  # the file takes its room before a disk is full
            shared.write(decision.causes)
    return decision.state


def _deliver(message: str, notify: str) -> None:
    logger.info("alert: %s", message)
    if problem := deliver(message, notify):
        logger.info("%s", problem)
