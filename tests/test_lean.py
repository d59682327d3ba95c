"""What a run does not use is not imported, and Luigi's own command is what it was."""

import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from luigi_etl.lean import UNUSED
from tests.conftest import Chain, Luigid, Serve, free_port

UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}  # coverage imports much itself
MINUTE = ("--timestamp", "2026-11-22T0926")
SPARED = {*UNUSED, "asyncio", "difflib", "shlex", "sqlalchemy", "sqlite3"}
FAMILIES = {
    "CreateDocument",
    "ExtractComplaints",
    "MergeComplaints",
    "ParseComplaints",
    "PruneSnapshots",
    "StoreComplaints",
    "SyncComplaints",
}


def python(code: str) -> set[str]:
    """Return the words that a program prints."""
    command = [sys.executable, "-I", "-c", f"import sys\n{code}"]
    environment = {**os.environ, **UNMEASURED}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_our_command_imports_luigi_without_what_it_does_not_use() -> None:
    assert not python("import luigi_etl.lean; luigi_etl.lean.import_luigi(); print(*sys.modules)") & SPARED


def test_a_disk_without_any_room_does_not_matter_to_luigi() -> None:
    code = """
import resource, luigi_etl.lean
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
luigi_etl.lean.import_luigi()
print("imported")
"""
    assert python(code) == {"imported"}


def test_what_was_left_out_can_be_imported_afterwards() -> None:
    code = "import luigi_etl.lean; luigi_etl.lean.import_luigi(); import requests, tornado, luigi.server"
    assert {"requests", "tornado"} <= python(f"{code}; print(*sys.modules)")


def test_what_is_there_already_stays() -> None:
    code = "import luigi, requests, luigi_etl.lean as lean; before = dict(sys.modules); lean.import_luigi()"
    assert python(f"{code}; print(sys.modules == before)") == {"True"}
    code = "import requests, luigi_etl.lean as lean; lean.import_luigi(); import luigi.rpc"
    assert python(f"{code}; print(luigi.rpc.HAS_REQUESTS)") == {"True"}


def test_a_luigid_that_cuts_the_connection_is_away() -> None:
    with socket.socket() as rude:
        rude.bind(("127.0.0.1", 0))
        rude.listen()

        def hang_up() -> None:
            rude.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        code = f"""
from luigi_etl.lean import import_luigi
import_luigi()
from luigi.configuration import get_config
from luigi.rpc import RemoteScheduler, RPCError
get_config().set("core", "rpc-retry-attempts", "1")
try:
    RemoteScheduler("http://127.0.0.1:{rude.getsockname()[1]}").ping(worker="me")
except RPCError:
    print("away")
"""
        assert python(code) == {"away"}
        thread.join()


def test_luigi_finds_every_task_defined_and_all_that_it_takes_along() -> None:
    code = "import luigi, luigi_etl; from luigi.task_register import Register; print(*Register.task_names())"
    assert python(code) >= FAMILIES


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_task_is_there_when_it_is_asked_for(family: str) -> None:
    assert python(f"from luigi_etl import {family}; print({family}.task_family)") == {family}
    assert python(f"import luigi_etl; print(luigi_etl.{family}.task_family)") == {family}


def test_what_is_no_task_is_not_there() -> None:
    assert python("import luigi_etl; print(hasattr(luigi_etl, 'NoSuchTask'))") == {"False"}


def test_what_a_snapshot_needs_is_imported_before_a_process_is_forked_for_a_task() -> None:
    code = """
import os, luigi, luigi_etl
if os.fork():
    os.wait()
    print(*sys.modules)
"""
    assert python(code) >= {"luigi_etl.extract", "luigi_etl.ccdb", "luigi_etl.parse", "luigi_etl.store"}


def test_what_cannot_be_imported_is_left_to_the_task_to_tell() -> None:
    code = """
import os, luigi, luigi_etl
sys.modules["urllib3"], sys.stderr = None, sys.stdout
if os.fork():
    os.wait()
"""
    assert python(code) == set()


def test_luigi_builds_one_parser_for_a_command_line_it_reads_several_times() -> None:
    code = """
import argparse, luigi_etl, luigi_etl.lean as lean
lean.import_luigi()
luigi_etl.define()
lean.keep_what_stays_the_same("StoreComplaints")
from luigi.cmdline_parser import CmdlineParser
built, make = [], argparse.ArgumentParser.__init__
argparse.ArgumentParser.__init__ = lambda self, **options: (built.append(self), make(self, **options))[1]
for _ in range(3):
    with CmdlineParser.global_instance(["StoreComplaints", "--limit", "7"]) as parser:
        print(parser.get_task_obj().limit)
print("parsers:", len(built))
"""
    assert python(code) == {"7", "parsers:", "1"}


@pytest.mark.slow
def test_luigid_is_asked_without_the_proxy_that_the_api_is_asked_through(
    chain: Chain, served: Serve, luigid: Luigid
) -> None:
    server = served()
    nobody = f"http://127.0.0.1:{free_port()}"
    api = urlsplit(server.url).netloc
    chain.environment.update(HTTP_PROXY=nobody, http_proxy=nobody, NO_PROXY=api, no_proxy=api)
    assert chain.unattended(*MINUTE, url=server.url).code == 0
    assert len(luigid.tasks("DONE")) == 4


@pytest.mark.slow
def test_a_run_takes_the_parameters_of_other_tasks_and_tasks_of_ones_own(chain: Chain, served: Serve) -> None:
    (chain.folder / "mine.py").write_text(
        "import luigi\nclass Mine(luigi.WrapperTask):\n    number = luigi.IntParameter()\n"
    )
    chain.environment["PYTHONPATH"] = str(chain.folder)
    url = served().url
    assert chain.unattended(*MINUTE, "--PruneSnapshots-keep-days", "5", url=url).code == 0
    assert chain.unattended("--module", "mine", "--number", "3", task="Mine", url=url).code == 0


@pytest.mark.slow
def test_a_minutes_run_imports_nothing_that_it_does_not_use(
    chain: Chain, served: Serve, luigid: Luigid
) -> None:
    """Both processes of it tell what they import: the one on standard error, the other in the log."""
    chain.environment.update(UNMEASURED)
    main = "from luigi_etl.command import main; main()"
    command = [sys.executable, "-I", "-X", "importtime", "-c", main, *chain.unattended_command()[1:]]
    run = chain.program(*command, url=served().url)
    assert run.code == 0
    told = f"{run.err}\n{chain.log()}".splitlines()
    imported = {line.rpartition("|")[2].strip() for line in told if "import time:" in line}
    assert {"luigi.worker", "luigi_etl.unattended", "luigi_etl.store"} <= imported
    found = imported - set(UNUSED)  # of these it says that Luigi asked for them
    assert not {name for name in found if name.split(".")[0] in SPARED}
    assert not found & {"luigi_etl.database", "luigi_etl.metrics", "luigi_etl.sync"}
    assert len(luigid.tasks("DONE")) == 4


@pytest.mark.slow
def test_a_minutes_run_asks_luigid_no_more_than_it_must(chain: Chain, served: Serve, luigid: Luigid) -> None:
    with relayed(luigid.port) as (port, asked):
        chain.configure("core", scheduler_port=port)
        assert chain.unattended(*MINUTE, url=served().url).code == 0
    assert Counter(asked) - Counter({"/api/ping": 60}) == {
        "/api/is_pause_enabled": 1,  # is it there?
        "/api/add_worker": 1,
        "/api/add_task": 8,  # each of four is made known, and done
        "/api/get_work": 5,  # for each, and that there is no more
        "/api/set_task_status_message": 4,  # what each did, for people
    }


@contextmanager
def relayed(port: int) -> Iterator[tuple[int, list[str]]]:
    """Pass on what is asked of a port; give the port to ask instead, and the paths."""
    asked: list[str] = []

    class Relay(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])) if self.command == "POST" else None
            request = Request(f"http://127.0.0.1:{port}{self.path}", body, method=self.command)
            with urlopen(request) as answer:
                self.send_response(answer.status)
                self.end_headers()
                self.wfile.write(answer.read())

        do_GET = do_POST  # noqa: N815  # http.server's name, too

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()
