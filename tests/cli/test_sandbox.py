"""`luigi-etl sandbox`: its options, the command that it runs, and its exit code."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

from luigi_etl.cli.main import run
from tests.conftest import Chain

ASK = """
import json, os, sys, urllib.error, urllib.request
answers = []
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(int(sys.argv[1])):
    try:
        answer = opener.open(os.environ["CCDB_URL"] + "?no_aggs=true&size=1&sort=created_date_desc")
        answers.append({"status": answer.status, "content": json.loads(answer.read())})
    except urllib.error.HTTPError as error:
        answers.append({"status": error.code})
print(json.dumps(answers))
"""


def ask(capfd: pytest.CaptureFixture[str], *options: str, times: int = 1) -> list[dict[str, Any]]:
    """Return the responses that a command gets from the sandbox."""
    assert run(["sandbox", *options, "--", sys.executable, "-c", ASK, str(times)]) == 0
    answers: list[dict[str, Any]] = json.loads(capfd.readouterr().out)
    return answers


def meta(capfd: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    content: dict[str, Any] = ask(capfd, *options)[0]["content"]["_meta"]
    return content


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the last line about refused arguments; the exit code is 2."""
    try:
        code: object = run(arguments)
    except SystemExit as ended:  # argparse
        code = ended.code
    assert code == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err.splitlines()[-1]


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_is_that_of_the_command(code: int) -> None:
    assert run(["sandbox", *python(f"raise SystemExit({code})")]) == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_command_killed_by_signal_is_128_plus_its_number(number: int) -> None:
    assert run(["sandbox", *python(f"import os; os.kill(os.getpid(), {number})")]) == 128 + number


def test_missing_command_is_127_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sandbox", "--", "no-such-command"]) == 127
    assert capsys.readouterr().err == "luigi-etl: cannot run 'no-such-command': No such file or directory\n"


def test_options_after_the_dashes_belong_to_the_command() -> None:
    assert run(["sandbox", *python("import sys; raise SystemExit(len(sys.argv))"), "--port", "--", "x"]) == 4


def test_only_the_command_prints(capfd: pytest.CaptureFixture[str]) -> None:
    run(["sandbox", *python("print('done')")])

    assert capfd.readouterr() == ("done\n", "")


def test_sandbox_replaces_an_existing_ccdb_url(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCDB_URL", "https://elsewhere.example/")

    assert ask(capfd)[0]["status"] == 200
    assert os.environ["CCDB_URL"] == "https://elsewhere.example/"


# --- options -------------------------------------------------------------------------------------


def test_default_is_1000_complaints_of_the_newest_era(capfd: pytest.CaptureFixture[str]) -> None:
    assert meta(capfd)["sandbox"] == "1,000 generated complaints, seed 1, era 2026-08"


def test_options_choose_the_generated_complaints(capfd: pytest.CaptureFixture[str]) -> None:
    (answer,) = ask(capfd, "--complaints", "7", "--era", "2021-09", "--seed", "5", "--days", "1")
    content = answer["content"]

    assert content["_meta"]["sandbox"] == "7 generated complaints, seed 5, era 2021-09"
    assert content["_meta"]["total_record_count"] == 7
    assert content["hits"]["hits"][0]["_type"] == "_doc"


def test_recorded_files_are_served(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for number, file in enumerate(files):
        hit = {"_id": str(number), "_source": {"date_received": "2026-01-15"}}
        file.write_text(json.dumps({"hits": {"hits": [hit]}}))

    described = meta(capfd, "--replay", *map(str, files))

    assert described["sandbox"] == "complaints replayed from one.json, two.json"
    assert described["total_record_count"] == 2


def test_events_happen_at_their_requests(capfd: pytest.CaptureFixture[str]) -> None:
    answers = ask(capfd, "--at", "1:status=503", "--at", "2:status=500", "--every", "3:status=429", times=6)

    assert [answer["status"] for answer in answers] == [503, 500, 429, 200, 200, 429]


@pytest.mark.parametrize(("options", "last"), [([], 429), (["--no-throttle"], 200)])
def test_request_21_is_throttled_unless_switched_off(
    capfd: pytest.CaptureFixture[str], options: list[str], last: int
) -> None:
    answers = ask(capfd, "--complaints", "1", *options, times=21)

    assert [answer["status"] for answer in answers] == [200] * 20 + [last]


@pytest.mark.parametrize(("options", "encoding"), [([], "None"), (["--gzip"], "gzip")])
def test_responses_are_compressed_with_the_option(
    capfd: pytest.CaptureFixture[str], options: list[str], encoding: str
) -> None:
    code = (
        "import os, requests; "
        "print(requests.get(os.environ['CCDB_URL'], timeout=9).headers.get('Content-Encoding'))"
    )

    assert run(["sandbox", *options, *python(code)]) == 0
    assert capfd.readouterr().out.strip() == encoding


def test_sandbox_serves_on_the_given_port(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    run(["sandbox", "--port", str(port), *python("import os; print(os.environ['CCDB_URL'])")])

    url = f"http://127.0.0.1:{port}/data-research/consumer-complaints/search/api/v1/"

    assert capfd.readouterr().out.strip() == url


def test_data_ends_today(capfd: pytest.CaptureFixture[str]) -> None:
    recently = datetime.now(timezone.utc) - timedelta(minutes=10)

    newest = meta(capfd, "--complaints", "5000", "--days", "1")["last_updated"][:10]

    # One complaint in 17 seconds: there are some just after midnight, too.
    assert newest in {f"{recently.date()}", f"{datetime.now(timezone.utc).date()}"}


def test_last_day_can_be_chosen(capfd: pytest.CaptureFixture[str]) -> None:
    described = [meta(capfd, "--today", "2026-09-26") for _ in range(2)]

    assert described[0] == described[1]
    assert described[0]["last_updated"] == described[0]["last_indexed"] == "2026-09-26T12:00:00-05:00"


# --- invalid options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--era", "2020-01"], "--era '2020-01' is not one of 2021-09, 2025-11, 2026-06, 2026-07, 2026-08"),
        (["--complaints", "-1"], "--complaints must be 0 or more"),
        (["--complaints", "many"], "argument --complaints: invalid int value: 'many'"),
        (["--today", "yesterday"], "--today 'yesterday' is not a day such as 2026-09-26"),
        (["--days", "0"], "--days must be from 1 to 36500"),
        (["--at", "1:explode"], "'1:explode' is not N:EVENT"),
        (["--every", "0:reset"], "'0:reset' is not N:EVENT"),
        (["--replay", "missing.json"], "No such file or directory: 'missing.json'"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["true"], "unrecognized arguments: true"),
        (["--port", "99999"], "--port from 0 to 65535"),
    ],
)
def test_invalid_options_are_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], options: list[str], error: str
) -> None:
    assert error in refused(capsys, "sandbox", *options, *python(""))


def test_file_that_is_no_recording_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text("{}")

    assert f"{file} is not a recorded answer" in refused(capsys, "sandbox", "--replay", str(file))


def test_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        assert (
            f"--port {port}: Address already in use; choose another, or omit --port for a free one"
            in refused(capsys, "sandbox", "--port", port, *python(""))
        )


def test_missing_subcommand_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "required: COMMAND" in refused(capsys)


# --- the installed program -----------------------------------------------------------------------


def serving(chain: Chain, *options: str) -> tuple[subprocess.Popen[str], str]:
    """Start the sandbox; return its process and address when it responds."""
    process = chain.start("luigi-etl", "sandbox", *options)
    assert process.stdout
    process.stdout.readline()
    url = process.stdout.readline().strip().removeprefix("CCDB_URL=")
    assert requests.get(url, timeout=10).status_code == 200
    return process, url


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_a_command_sandbox_serves_until_a_signal(chain: Chain, number: int) -> None:
    process, url = serving(chain, "--complaints", "3")

    process.send_signal(number)
    _, err = process.communicate(timeout=10)

    assert (process.returncode, err) == (0, "")
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_removes_the_temporary_files(chain: Chain, number: int) -> None:
    temporary = chain.folder / "temporary"
    temporary.mkdir()
    chain.environment["TMPDIR"] = str(temporary)
    process, url = serving(chain, "--complaints", "3")
    requests.get(url[: url.index("/data-")] + "/ccdb/complaints.csv.zip", timeout=10)
    written = [path.name for path in temporary.rglob("*.zip")]

    process.send_signal(number)
    process.communicate(timeout=10)

    assert len(written) == 1
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_start_prints_description_and_address(chain: Chain) -> None:
    process = chain.start("luigi-etl", "sandbox", "--complaints", "3")
    assert process.stdout
    first, second = process.stdout.readline(), process.stdout.readline()
    process.kill()
    process.communicate()

    assert first == "3 generated complaints, seed 1, era 2026-08, until Ctrl-C at\n"
    assert second.startswith("CCDB_URL=http://127.0.0.1:")


@pytest.mark.slow
def test_program_exits_with_the_code_of_its_command(chain: Chain) -> None:
    ended = chain.program("luigi-etl", "sandbox", "--", sys.executable, "-c", "raise SystemExit(3)")

    assert (ended.code, ended.out, ended.err) == (3, "", "")


@pytest.mark.slow
def test_program_refuses_invalid_options_without_traceback(chain: Chain) -> None:
    ended = chain.program("luigi-etl", "sandbox", "--era", "2020-01", "--", "true")

    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("luigi-etl: error: --era")
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_sigterm_also_ends_the_command(chain: Chain) -> None:
    waiting = shutil.which("sleep") or "sleep"
    code = f"import os; print(os.getpid(), flush=True); os.execv({waiting!r}, ['sleep', '60'])"
    process = chain.start("luigi-etl", "sandbox", *python(code))
    assert process.stdout
    command = int(process.stdout.readline())

    process.terminate()
    process.communicate(timeout=10)

    assert process.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(command, 0)


@pytest.mark.slow
def test_command_handles_ctrl_c_itself(chain: Chain) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(5)); "
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)"  # a signal just before a long sleep would wait for its end
    )
    process = chain.start("luigi-etl", "sandbox", *python(code), start_new_session=True)
    assert process.stdout
    process.stdout.readline()

    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=10)

    assert (process.returncode, err) == (5, "")
