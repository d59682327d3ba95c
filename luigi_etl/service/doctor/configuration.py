"""Check luigi.cfg: its settings are known and usable."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import luigi
from luigi.task_register import Register

from luigi_etl import import_tasks
from luigi_etl.service.doctor.finding import Finding, describe_refusal, failed, passed
from luigi_etl.tasks.startup import READ_BY_LUIGI

SECTIONS_OF_LUIGI = ("logging", "email", "retcode")  # Luigi reads them without a task


def check_configuration() -> Iterator[Finding]:
    """Check that luigi.cfg exists, and that each setting is known and usable."""
    path = Path(os.environ.get("LUIGI_CONFIG_PATH") or "luigi.cfg")
    if not path.is_file():
        yield failed(f"{path.absolute()} does not exist: run this command in the folder of luigi.cfg")
        return
    import_tasks()
    unknown, unusable = list(_unknown_settings()), list(_unusable_settings())
    yield from (failed(f"{path}: {setting} is unknown: correct or remove it") for setting in unknown)
    yield from (failed(f"{path}: {setting}: correct it") for setting in unusable)
    if not unknown and not unusable:
        yield passed(f"{path.absolute()}: all settings are known")


def _unknown_settings() -> Iterator[str]:
    """Yield unknown settings, for which Luigi warns, and unknown sections, for which it does not."""
    configuration = luigi.configuration.get_config()
    for section in configuration.sections():
        if section not in Register.task_names():
            if section not in SECTIONS_OF_LUIGI:
                yield f"[{section}]"
            continue
        family = Register.get_task_cls(section)
        known = {name for name, _ in family.get_params()} | getattr(family, "ignore_unconsumed", set())
        known |= READ_BY_LUIGI if section == "core" else set()
        yield from (
            f"[{section}] {name}" for name in configuration[section] if name.replace("-", "_") not in known
        )


def _unusable_settings() -> Iterator[str]:
    """Yield the settings with invalid values, and the reasons."""
    configuration = luigi.configuration.get_config()
    for section in set(configuration.sections()) & set(Register.task_names()):
        for name, parameter in Register.get_task_cls(section).get_params():
            if not configuration.has_option(section, name):
                continue
            stderr = io.StringIO()
            try:
                with contextlib.redirect_stderr(stderr):
                    parameter.parse(configuration.get(section, name))
            except (Exception, SystemExit) as error:
                yield f"[{section}] {name} can't be used ({describe_refusal(stderr, error)})"
