"""Check luigi.cfg: its settings are known and usable."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import luigi
from luigi.task_register import Register

from luigi_etl import define
from luigi_etl.service.doctor.finding import Finding, failed, passed, reason_of
from luigi_etl.tasks.startup import READ_BY_LUIGI


def check_configuration() -> Iterator[Finding]:
    """Check that luigi.cfg exists, and that each setting is known and usable."""
    path = Path(os.environ.get("LUIGI_CONFIG_PATH") or "luigi.cfg")
    if not path.is_file():
        yield failed(f"{path.absolute()} is not there: run this in the folder of luigi.cfg")
        return
    define()
    unread, unusable = list(_settings_nobody_reads()), list(_settings_of_no_use())
    yield from (failed(f"{path}: {setting}, which nobody reads: correct or remove it") for setting in unread)
    yield from (failed(f"{path}: {setting}: correct it") for setting in unusable)
    if not unread and not unusable:
        yield passed(f"{path.absolute()}, every setting of it known")


def _settings_nobody_reads() -> Iterator[str]:
    """Name the settings Luigi would warn of, and the sections it would pass over in silence."""
    configuration = luigi.configuration.get_config()
    for section in configuration.sections():
        if section not in Register.task_names():
            if section not in ("logging", "email", "retcode"):
                yield f"[{section}]"
            continue
        family = Register.get_task_cls(section)
        known = {name for name, _ in family.get_params()} | getattr(family, "ignore_unconsumed", set())
        known |= READ_BY_LUIGI if section == "core" else set()
        yield from (
            f"[{section}] {name}" for name in configuration[section] if name.replace("-", "_") not in known
        )


def _settings_of_no_use() -> Iterator[str]:
    """Name the settings whose values can't be used, with the reason."""
    configuration = luigi.configuration.get_config()
    for section in set(configuration.sections()) & set(Register.task_names()):
        for name, parameter in Register.get_task_cls(section).get_params():
            if not configuration.has_option(section, name):
                continue
            said = io.StringIO()
            try:
                with contextlib.redirect_stderr(said):
                    parameter.parse(configuration.get(section, name))
            except (Exception, SystemExit) as error:
                yield f"[{section}] {name} can't be used ({reason_of(said, error)})"
