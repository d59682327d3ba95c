"""The client of luigid for unattended runs; it trusts only a luigid of this user or root.

Luigi's own client fails with a traceback at invalid responses.
"""

import functools
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from luigi.rpc import RemoteScheduler, RPCError

from luigi_etl.service.listeners import Listener, find_foreign_listener
from luigi_etl.service.luigid import Address


class LuigidClient:
    """A client of luigid that raises RPCError, as if luigid were away, if another user owns luigid."""

    def __init__(self, url: str, luigid: Address) -> None:
        self._scheduler = RemoteScheduler(url)
        self._luigid = luigid

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of Luigi's client with checks around it."""
        return functools.partial(self._call, name)

    def close(self) -> None:
        """Close the connection."""
        self._scheduler.close()

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self._check_owner()  # before a request is sent
        try:
            response = getattr(self._scheduler, name)(*args, **kwargs)
        except (OSError, HTTPException) as error:  # a cut connection
            raise RPCError("no response", error) from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise RPCError("the response is not luigid's", error) from error
        self._check_owner()  # luigid may have been replaced meanwhile
        return response

    def _check_owner(self) -> None:
        try:
            foreign = _find_foreign_listener(self._luigid.host, self._luigid.port, int(time.monotonic()))
        except OSError as error:
            raise RPCError("its owner is unknown", error) from error
        if foreign:
            problem = f"another user's program (uid {foreign.uid}) listens there"
            raise RPCError(problem)


@functools.lru_cache(maxsize=1)
def _find_foreign_listener(host: str, port: int, _second: int) -> Listener | None:
    """Check at most once a second: with many connections the kernel's list is long."""
    return find_foreign_listener(host, port)
