"""A limit for the total time of an HTTP request, which requests and urllib3 lack."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event, Thread
from typing import Any

from requests.adapters import HTTPAdapter


class Watchdog:
    """A thread that shuts a connection down when its request takes too long.

    A socket's timeout limits only each wait, so a server that sends a byte now and then never exceeds it.
    """

    def __init__(self) -> None:
        self.socket: socket.socket | None = None

    @contextmanager
    def guarding(self, seconds: float) -> Iterator[Event]:
        """Guard a request; the event is set when its time is over."""
        is_over, is_done = Event(), Event()
        thread = Thread(target=self._guard, args=(seconds, is_over, is_done), daemon=True)
        thread.start()
        try:
            yield is_over
        finally:
            is_done.set()
            thread.join()

    def _guard(self, seconds: float, is_over: Event, is_done: Event) -> None:
        if is_done.wait(seconds):
            return
        is_over.set()
        while not is_done.wait(0.05):  # repeat, because the connection may not exist yet
            if self.socket:
                with suppress(OSError):  # the shutdown method of TLS sockets is not thread-safe
                    socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class WatchedAdapter(HTTPAdapter):
    """An adapter that passes each connection to a watchdog, also through a proxy of any kind."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return a pool whose connections are passed to the watchdog."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _WatchedConnection):
            bases = (_WatchedConnection, pool.ConnectionCls)
            pool.ConnectionCls = type("Watched", bases, {"watchdog": self._watchdog})
        return pool


class _WatchedConnection:
    """A mixin for the connections of urllib3."""

    watchdog: Watchdog
    sock: Any

    def connect(self) -> None:
        with ExitStack() as self._while_connecting:
            super().connect()  # type: ignore[misc]
            # urllib3 wraps the socket for TLS inside a proxy's TLS.
            self.watchdog.socket = getattr(self.sock, "socket", self.sock)

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        # TLS detaches this socket before its handshake.
        self.watchdog.socket = self._while_connecting.enter_context(connected.dup())
        return connected
