"""A rate limit for requests, shared by all processes that use the same file.

The API counts the requests of a client address in a sliding minute (20 for JSON), whichever process sends
them. So the file contains the times of recent requests for each host. A process checks and counts in one step
under the file's lock (flock), and waits without the lock.

The file needs no fsync: after a power cut, lost times are older than a minute. It is overwritten in place,
one block (room for more than 200 requests) at once, within its allocated space. So a kill or a full disk
can't truncate it, and all users who may write it can share it.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from luigi_etl.common.errors import StorageError
from luigi_etl.common.files import overwrite
from luigi_etl.common.locks import lock

# The server counts a request when it arrives. The extra second covers a slow first connection.
WINDOW_MILLISECONDS = 61_000
_BLOCK = 4096  # bytes

RequestTimes = dict[str, list[int]]


def default_pace_file() -> Path:
    """Return the file in the user's cache folder (XDG Base Directory).

    Raises:
        StorageError: there is no home folder.

    """
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(cache or Path.home() / ".cache") / "luigi_etl" / "pace.json"
    except RuntimeError as error:
        raise StorageError(
            f"no home folder for the count of requests ({error}); set [ccdb] pace_file"
        ) from error


@dataclass(frozen=True)
class Pace:
    """The rate limit of a host: requests per minute, counted in a file."""

    path: Path
    host: str
    requests_per_minute: int
    _last_turn: list[int] = field(default_factory=list, compare=False, repr=False)

    def take_turn(self) -> float:
        """Count a request and return 0 if it may be sent now; else return the seconds to wait.

        Raises:
            StorageError: the file can't be used.

        """
        try:
            with self._locked() as file:
                return self._take_turn(file)
        except OSError as error:
            raise StorageError(
                f"cannot count requests in {self.path}: {error.strerror or error} "
                f"({error.filename or self.path}); make room or give access there, "
                "or set [ccdb] pace_file to another file"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StorageError(
                f"cannot count requests in {self.path}: {error}; delete it or set [ccdb] pace_file"
            ) from error

    def _take_turn(self, file: int) -> float:
        now = time.time_ns() // 1_000_000  # read under the lock, so that no counted time is later
        counted = _drop_expired(_read(file), now)
        times = counted.setdefault(self.host, [])
        if len(times) >= self.requests_per_minute:
            return (times[-self.requests_per_minute] + WINDOW_MILLISECONDS - now) / 1000
        times.append(now)
        overwrite(file, msgspec.json.encode(counted), _BLOCK)
        self._last_turn[:] = [now]
        return 0.0

    def give_back(self) -> None:
        """Remove the last request from the count: it was never sent.

        Remove exactly its time. Without an older time, the next request would come too early.
        """
        with contextlib.suppress(OSError, ValueError), self._locked() as file:  # on failure it stays counted
            counted = _read(file)
            counted.get(self.host, []).remove(self._last_turn.pop())
            overwrite(file, msgspec.json.encode(counted), _BLOCK)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(file, self.path, "set [ccdb] pace_file to a file on a local disk", wait=True)
            yield file
        finally:
            os.close(file)


def _drop_expired(counted: RequestTimes, now: int) -> RequestTimes:
    """Return the requests of the last minute; future times come from a clock that was set back."""
    recent = {
        host: [sent for sent in times if now - WINDOW_MILLISECONDS < sent <= now]
        for host, times in counted.items()
    }
    return {host: times for host, times in recent.items() if times}


def _read(file: int) -> RequestTimes:
    content = os.pread(file, os.fstat(file).st_size, 0)
    is_empty = not content.strip(b" \0")  # a power cut may leave NULs
    return {} if is_empty else msgspec.json.decode(content, type=RequestTimes)
