"""The start of a run: its imports, its requests to luigid, and proxies."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.conftest import Chain, Luigid, Serve, free_port
from tests.raw import handling

UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}  # coverage imports many modules
MINUTE = ("--timestamp", "2026-11-22T0926")
LAZY = {"sqlalchemy", "sqlite3"}
FAMILIES = {
    "CreateDocument",
    "ExtractComplaints",
    "ImportComplaints",
    "ImportNarratives",
    "MergeComplaints",
    "ParseComplaints",
    "PruneSnapshots",
    "ReconcileComplaints",
    "StoreComplaints",
    "SyncComplaints",
}


def python(code: str) -> set[str]:
    """Return the words that a program prints."""
    command = [sys.executable, "-I", "-c", f"import sys\n{code}"]
    environment = {**os.environ, **UNMEASURED}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_command_line_does_not_import_luigi_at_its_start() -> None:
    assert not python("import luigi_etl.cli.main; print(*sys.modules)") & {"luigi", *LAZY}


def test_sqlite_needs_no_part_of_postgresql() -> None:
    code = "import luigi_etl.database.file_import, luigi_etl.database.id_lookup; print(*sys.modules)"

    assert not python(code) & {"psycopg", "sqlalchemy.dialects.postgresql"}


def test_luigi_is_imported_on_a_full_disk() -> None:
    code = """
import resource, luigi_etl.tasks.startup
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
luigi_etl.tasks.startup.import_luigi()
print("imported")
"""

    assert python(code) == {"imported"}


def test_luigi_is_not_patched() -> None:
    code = """
import luigi, luigi.rpc, luigi.cmdline_parser
places = (luigi, luigi.rpc, luigi.Task, luigi.cmdline_parser.CmdlineParser, luigi.rpc.URLLibFetcher)
before = [dict(vars(place)) for place in places]
from luigi_etl.tasks.startup import import_luigi
import_luigi()
import luigi_etl.service.unattended
for place, names in zip(places, before):
    print(*(name for name in names if not name.startswith("_abc") and names[name] is not vars(place)[name]))
"""

    assert python(code) == set()


def test_luigi_finds_all_tasks() -> None:
    code = "import luigi, luigi_etl; from luigi.task_register import Register; print(*Register.task_names())"

    assert python(code) >= FAMILIES


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_task_is_imported_on_first_use(family: str) -> None:
    assert python(f"from luigi_etl import {family}; print({family}.task_family)") == {family}
    assert python(f"import luigi_etl; print(luigi_etl.{family}.task_family)") == {family}


def test_package_has_no_other_attributes() -> None:
    assert python("import luigi_etl; print(hasattr(luigi_etl, 'NoSuchTask'))") == {"False"}


@pytest.mark.slow
def test_modules_of_the_chain_are_imported_before_a_fork() -> None:
    code = """
import os, luigi, luigi_etl
if os.fork():
    os.wait()
    print(*sys.modules)
"""
    imported = {"api.client", "snapshot.extract", "snapshot.parse", "snapshot.store"}

    assert python(code) >= {f"luigi_etl.{name}" for name in imported}


@pytest.mark.slow
def test_luigid_is_reached_without_the_proxy(chain: Chain, served: Serve, luigid: Luigid) -> None:
    server = served()
    nobody = f"http://127.0.0.1:{free_port()}"
    api = urlsplit(server.url).netloc
    chain.environment.update(HTTP_PROXY=nobody, http_proxy=nobody, NO_PROXY=api, no_proxy=api)

    assert chain.unattended(*MINUTE, url=server.url).code == 0

    assert len(luigid.tasks("DONE")) == 4


@pytest.mark.slow
def test_api_is_reached_through_the_proxy_luigid_is_not(chain: Chain, served: Serve, luigid: Luigid) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    for name in ("NO_PROXY", "no_proxy"):
        chain.environment.pop(name, None)
    chain.environment.update(HTTP_PROXY=nobody, http_proxy=nobody)
    url = served().url.replace("127.0.0.1", "localhost")

    run = chain.unattended(*MINUTE, "--ccdb-retries", "0", "--ccdb-backoff", "0", url=url)

    assert (run.code, "proxy" in run.err) == (30, True)
    assert [task["name"] for task in luigid.tasks("DONE").values()] == ["CreateDocument"]


@pytest.mark.slow
def test_run_accepts_other_tasks_and_their_parameters(chain: Chain, served: Serve) -> None:
    (chain.folder / "mine.py").write_text(
        "import luigi\nclass Mine(luigi.WrapperTask):\n    number = luigi.IntParameter()\n"
    )
    chain.environment["PYTHONPATH"] = str(chain.folder)
    url = served().url

    assert chain.unattended(*MINUTE, "--PruneSnapshots-keep-days", "5", url=url).code == 0

    assert chain.unattended("--module", "mine", "--number", "3", task="Mine", url=url).code == 0


@pytest.mark.slow
def test_run_imports_no_unused_modules(chain: Chain, served: Serve, luigid: Luigid) -> None:
    """The parent lists its imports on standard error, the child in the log."""
    chain.environment.update(UNMEASURED)
    main = "from luigi_etl.cli.main import main; main()"
    command = [sys.executable, "-I", "-X", "importtime", "-c", main, *chain.unattended_command()[1:]]
    run = chain.program(*command, url=served().url)
    assert run.code == 0
    lines = f"{run.err}\n{chain.log()}".splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if "import time:" in line}
    assert {"luigi.worker", "luigi_etl.service.unattended", "luigi_etl.snapshot.store"} <= imported
    assert not {name for name in imported if name.split(".")[0] in LAZY}
    unused = {"database.connection", "database.sync", "service.metrics"}
    assert not imported & {f"luigi_etl.{name}" for name in unused}
    assert len(luigid.tasks("DONE")) == 4


@pytest.mark.slow
def test_run_sends_few_requests_to_luigid(chain: Chain, served: Serve, luigid: Luigid) -> None:
    with relay(luigid.port) as (port, paths):
        chain.configure("core", scheduler_port=port)
        assert chain.unattended(*MINUTE, url=served().url).code == 0

    assert Counter(paths) - Counter({"/api/ping": 60}) == {
        "/api/is_pause_enabled": 1,  # does luigid answer?
        "/api/add_worker": 1,
        "/api/add_task": 8,  # four tasks: added, and done
        "/api/get_work": 5,  # four tasks, then none
        "/api/set_task_status_message": 4,  # one for each task
    }


@contextmanager
def relay(port: int) -> Iterator[tuple[int, list[str]]]:
    """Relay requests to a port; yield the port of the relay and the paths of the requests."""
    paths: list[str] = []

    class Relay(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            paths.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])) if self.command == "POST" else None
            request = Request(f"http://127.0.0.1:{port}{self.path}", body, method=self.command)
            with urlopen(request) as answer:
                self.send_response(answer.status)
                self.end_headers()
                self.wfile.write(answer.read())

        do_GET = do_POST  # noqa: N815  # http.server's name

        def log_message(self, *_: object) -> None: ...

    with handling(Relay) as port_of_relay:
        yield port_of_relay, paths
