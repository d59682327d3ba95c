"""Programs of others at luigid's port."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

import pytest

NOBODY = 65534
PRUNE = {
    "task_id": "PruneSnapshots_False_1_0",
    "task_family": "PruneSnapshots",
    "task_module": "luigi_etl",
    "task_params": {"keep_days": "1"},
}
NO_WORK = {"n_pending_tasks": 0, "running_tasks": [], "n_unique_pending": 0, "worker_state": "active"}


def give_tasks() -> Callable[[str], bytes]:
    """Answer like luigid, and order the first worker to remove old snapshots."""
    tasks = [{**NO_WORK, **PRUNE}]

    def answer(path: str) -> bytes:
        if path == "/api/is_pause_enabled":
            return json.dumps({"response": {"enabled": False}}).encode()
        if path == "/api/get_work":
            return json.dumps({"response": tasks.pop() if tasks else {**NO_WORK, "task_id": None}}).encode()
        return json.dumps({"response": None}).encode()

    return answer


def turn_to_nonsense(nonsense: bytes) -> Callable[[str], bytes]:
    """Answer like luigid to the first check, and with nonsense afterwards."""

    def answer(path: str) -> bytes:
        return b'{"response": {"enabled": false}}' if path == "/api/is_pause_enabled" else nonsense

    return answer


@dataclass(frozen=True)
class HostileLuigid:
    """A program that listens at luigid's port."""

    port: int

    @classmethod
    @contextmanager
    def of_nobody(cls, port: int = 0) -> Iterator["HostileLuigid"]:
        """Start a program of another user that answers."""
        if os.getuid() != 0:
            pytest.skip("only root can start another user's program")
        with cls.answering(give_tasks(), NOBODY, port) as hostile:
            yield hostile

    @classmethod
    @contextmanager
    def answering(
        cls, answer: Callable[[str], bytes], uid: int | None = None, port: int = 0
    ) -> Iterator["HostileLuigid"]:
        """Start a program that answers each path with `answer`."""
        fork = multiprocessing.get_context("fork")
        reader, writer = fork.Pipe(duplex=False)
        process = fork.Process(target=_serve, args=(answer, uid, port, writer), daemon=True)
        process.start()
        try:
            yield cls(reader.recv())
        finally:
            process.terminate()
            process.join()


def _serve(
    answer: Callable[[str], bytes], uid: int | None, port: int, started: "Connection[int, int]"
) -> None:
    if uid is not None:
        os.setuid(uid)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = b"" if self.command == "HEAD" else answer(self.path)
            self.send_response(204 if self.command == "HEAD" else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_HEAD = do_GET  # noqa: N815  # http.server's names, too

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        started.send(server.server_address[1])
        server.serve_forever()
