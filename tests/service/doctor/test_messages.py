"""The check of messages and metrics."""

from pathlib import Path

import pytest

from luigi_etl.service.doctor import messages
from tests.conftest import Chain
from tests.service.doctor.helpers import RunCheck, findings_of

pytestmark = pytest.mark.slow


def test_without_notify_cron_mails_messages(
    here: RunCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sendmail").touch(mode=0o755)
    monkeypatch.setattr(messages, "SENDMAIL_FOLDERS", str(tmp_path))

    message = "[service] notify: not set; messages go to standard error, and cron mails them"
    assert here("messages") == [(True, message)]


def test_missing_notify_and_sendmail_fail(
    here: RunCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "SENDMAIL_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    ((well, message),) = here("messages")

    assert (well, message.partition(": set it")[0]) == (
        False,
        "[service] notify: not set, and cron can't mail messages without sendmail",
    )


def test_existing_program_and_metrics_folder_pass(chain: Chain) -> None:
    (chain.folder / "metrics").mkdir()
    chain.configure("service", notify="tee -a messages.txt", metrics="metrics")

    assert findings_of(chain, "messages") == [
        (True, "[service] notify: messages go to tee"),
        (True, f"[service] metrics: {chain.folder}/metrics"),
    ]


def test_missing_program_and_metrics_folder_fail(chain: Chain) -> None:
    chain.configure("service", notify="/no/such --message", metrics="nometrics")

    assert findings_of(chain, "messages") == [
        (
            False,
            "[service] notify: the program '/no/such' does not exist: correct it; until then messages go to "
            "standard error",
        ),
        (
            False,
            f"[service] metrics: {chain.folder}/nometrics does not exist: create it, or correct the setting",
        ),
    ]
