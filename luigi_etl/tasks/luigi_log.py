"""Luigi's log: each failure in one line, a bug also with its traceback."""

import configparser
import logging
import re
import traceback

import luigi
from luigi.rpc import RPCError

from luigi_etl.common.errors import EtlError
from luigi_etl.common.reason import bounded, reason
from luigi_etl.common.terminal import one_line

_UNSCHEDULED = re.compile(r"Will not run (\w+).* due to error in \w+\(\) method:\n")
_LAST_LINE = re.compile(r'^  File ".*\n(?: {4}.*\n)*(?:\w+\.)*(\S.*)', re.MULTILINE)


class OneLineFilter(logging.Filter):
    """A filter that reduces Luigi's failure reports to one line; a bug keeps its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record; drop one that repeats an expected failure."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            _report_unscheduled(record)
            return True
        problem = find_config_problem(error)
        record.msg, record.args = problem or _describe_failure(error, record.args), ()
        record.exc_info = record.exc_text = None
        if not problem and not isinstance(error, (EtlError, RPCError)):
            record.exc_text = _format_traceback(error)
            return True
        is_new = record.msg not in self._seen
        self._seen.add(record.msg)
        return is_new


def find_config_problem(error: BaseException) -> str:
    """Return the problem of luigi.cfg in one line, or an empty text if the error is another."""
    cause = error.__cause__ if isinstance(error, ValueError) else error
    if not isinstance(cause, configparser.Error):
        return ""
    return f"luigi.cfg can't be used ({one_line(str(cause))}): correct it; write % as %%"


def _describe_failure(error: BaseException, arguments: object) -> str:
    if isinstance(error, RPCError):
        return f"luigid: {error}; start it (luigi-etl luigid) or add --local-scheduler"
    task = arguments[-1] if isinstance(arguments, tuple) and arguments else None
    return f"{task.task_family}: {reason(error)}" if isinstance(task, luigi.Task) else reason(error)


def _format_traceback(error: BaseException) -> str:
    """Return the traceback of an error, the first cause first, without rows in its messages."""
    parts: dict[int, str] = {}
    cause: BaseException | None = error
    while cause and id(cause) not in parts:
        parts[id(cause)] = "".join(traceback.format_tb(cause.__traceback__)) + reason(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(f"Traceback (most recent call last):\n{part}" for part in reversed(parts.values()))


def _report_unscheduled(record: logging.LogRecord) -> None:
    """Turn Luigi's warning about a task that it can't schedule into an error, reason first."""
    text = record.getMessage()
    found, last = _UNSCHEDULED.match(text), _LAST_LINE.findall(text)
    if found and last:
        record.levelno, record.levelname = logging.ERROR, "ERROR"
        record.msg, record.args = f"{found[1]}: {bounded(last[-1])}", ()
        frames = [line for line in text[found.end() :].splitlines() if line.startswith("  ")]
        record.exc_text = "\n".join(frames)
