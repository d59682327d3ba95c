"""The alerts of jobs: decide whether the end of a run is news, deliver the message, and remember it."""

import logging

from luigi_etl.common.job_state import Job, JobState
from luigi_etl.common.state_file import StateFile
from luigi_etl.service.alert_decision import Told, after_failure, after_success
from luigi_etl.service.failure_causes import ROOM, Causes, Who
from luigi_etl.service.notify import deliver
from luigi_etl.service.run_result import Ended

logger = logging.getLogger("luigi_etl.unattended")


def alert(job: Job, who: Who, memory: JobState, ended: Ended, notify: str) -> JobState:
    """Report what the end of a run means, if that is news, and remember it; return what is remembered."""
    shared = StateFile(".outages", job.folder, Causes, ROOM)
    with shared.locked():
        causes = shared.read()
        told = _told(memory, causes, ended, who)
        if told.note:
            logger.info("%s", told.note)
        _deliver(told.message, notify)
        job.write_state(told.memory)  # after the delivery: two messages are better than none
        if told.causes != causes or not causes.written:  # the file needs its room before a disk is full
            shared.write(told.causes)
    return told.memory


def _told(memory: JobState, causes: Causes, ended: Ended, who: Who) -> Told:
    if ended.is_skipped:
        return Told(memory, causes)
    after = after_success if ended.is_success else after_failure
    return after(memory, causes, ended, who)


def _deliver(message: str, notify: str) -> None:
    """Deliver a message, if there is one, to the command of the settings or to standard error."""
    if not message:
        return
    logger.info("told: %s", message)
    if problem := deliver(message, notify):
        logger.info("%s", problem)
