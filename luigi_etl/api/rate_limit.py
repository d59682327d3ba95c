"""The rate limit of requests, shared by all processes that name the same file.

The API counts the requests of a client address over a sliding minute (20 for JSON), whichever process sends
them. The file therefore holds the times of the last requests for each host. A process checks and counts in
one step, under the file's lock (flock). It waits without the lock.

The file needs no fsync: times that a power cut loses, or leaves as NULs, are older than a minute when the
machine is up again. The file is overwritten in place, a block (200 requests) at once, within space that it
already has. So neither a kill nor a full disk leaves half of it, and users who may write it can share it.
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

# A request is counted when it leaves and by the server when it arrives: a second more than the
# server's minute keeps a slow first connection from bringing request 21 inside it.
WINDOW_MILLISECONDS = 61_000
_BLOCK = 4096  # bytes, overwritten in one piece

Counted = dict[str, list[int]]


def default_pace_file() -> Path:
    """Return the file that holds the count: in the user's cache folder (XDG Base Directory).

    Raises:
        StorageError: there is no home folder.

    """
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(cache or Path.home() / ".cache") / "luigi_etl" / "pace.json"
    except RuntimeError as error:
        raise StorageError(
            f"no home folder for the pace of requests ({error}); set [ccdb] pace_file"
        ) from error


@dataclass(frozen=True)
class Pace:
    """The rate limit of a host: requests per minute, counted in a file."""

    path: Path
    host: str
    requests_per_minute: int
    _taken: list[int] = field(default_factory=list, compare=False, repr=False)

    def take_turn(self) -> float:
        """Count a request that may be sent now, and return 0; else the seconds until there may be one.

        Raises:
            StorageError: the file can't be used.

        """
        try:
            with self._locked() as file:
                return self._take_turn(file)
        except OSError as error:
            raise StorageError(
                f"cannot keep the pace of requests in {self.path}: {error.strerror or error} "
                f"({error.filename or self.path}); make room or give access there, "
                "or let [ccdb] pace_file name another file"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StorageError(
                f"cannot keep the pace of requests in {self.path}: {error}; delete it or set [ccdb] pace_file"
            ) from error

    def _take_turn(self, file: int) -> float:
        now = time.time_ns() // 1_000_000  # under the lock: what others counted before is no future
        counted = _still_counting(_read(file), now)
        own = counted.setdefault(self.host, [])
        if len(own) >= self.requests_per_minute:
            return (own[-self.requests_per_minute] + WINDOW_MILLISECONDS - now) / 1000
        own.append(now)
        overwrite(file, msgspec.json.encode(counted), _BLOCK)
        self._taken[:] = [now]
        return 0.0

    def give_back(self) -> None:
        """Return the last turn, because its request never left.

        Only the counted time itself is removed: removing an older one would soon allow one request too many.
        """
        with contextlib.suppress(OSError, ValueError), self._locked() as file:  # else it stays counted
            counted = _read(file)
            counted.get(self.host, []).remove(self._taken.pop())
            overwrite(file, msgspec.json.encode(counted), _BLOCK)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(file, self.path, "let [ccdb] pace_file name a file on a local disk", wait=True)
            yield file
        finally:
            os.close(file)


def _still_counting(counted: Counted, now: int) -> Counted:
    """Return the requests of the last minute; future ones are of a clock that was set back since."""
    recent = {
        host: [sent for sent in times if now - WINDOW_MILLISECONDS < sent <= now]
        for host, times in counted.items()
    }
    return {host: times for host, times in recent.items() if times}


def _read(file: int) -> Counted:
    content = os.pread(file, os.fstat(file).st_size, 0)
    return msgspec.json.decode(content, type=Counted) if content.strip(b" \0") else {}
