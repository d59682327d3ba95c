"""Luigi's log: each failure in one line, and for a bug the lines of code that led there."""

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


class OneLine(logging.Filter):
    """Reduces Luigi's report of a failure to the reason, and for a bug the lines of code that led there."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record; drop one that repeats an expected failure."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            _explain_unscheduled(record)
            return True
        problem = fault_of_configuration(error)
        record.msg, record.args = problem or _one_line(error, record.args), ()
        record.exc_info = record.exc_text = None
        if not problem and not isinstance(error, (EtlError, RPCError)):
            record.exc_text = _trace(error)
            return True
        is_new = record.msg not in self._told
        self._told.add(record.msg)
        return is_new


def fault_of_configuration(error: BaseException) -> str:
    """Return the fault in luigi.cfg in one line, if that is the error: Luigi names only the parameter."""
    cause = error.__cause__ if isinstance(error, ValueError) else error
    if not isinstance(cause, configparser.Error):
        return ""
    return f"luigi.cfg can't be used ({one_line(str(cause))}): correct it; a % is written %%"


def _one_line(error: BaseException, arguments: object) -> str:
    if isinstance(error, RPCError):
        return f"luigid: {error}; start it (luigi-etl luigid) or add --local-scheduler"
    task = arguments[-1] if isinstance(arguments, tuple) and arguments else None
    return f"{task.task_family}: {reason(error)}" if isinstance(task, luigi.Task) else reason(error)


def _trace(error: BaseException) -> str:
    """Return the code that led to an error, the first cause first; the messages of a database hold rows."""
    parts: dict[int, str] = {}
    cause: BaseException | None = error
    while cause and id(cause) not in parts:
        parts[id(cause)] = "".join(traceback.format_tb(cause.__traceback__)) + reason(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(f"Traceback (most recent call last):\n{part}" for part in reversed(parts.values()))


def _explain_unscheduled(record: logging.LogRecord) -> None:
    """Make an error of the warning that Luigi gives of a task it could not schedule, its reason first."""
    text = record.getMessage()
    found, last = _UNSCHEDULED.match(text), _LAST_LINE.findall(text)
    if found and last:
        record.levelno, record.levelname = logging.ERROR, "ERROR"
        record.msg, record.args = f"{found[1]}: {bounded(last[-1])}", ()
        frames = [line for line in text[found.end() :].splitlines() if line.startswith("  ")]
        record.exc_text = "\n".join(frames)
