"""The checkout that cron runs."""

import importlib.metadata
import json
import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from luigi_etl.common.errors import SettingError

WRAPPER = Path("cron", "run")
CONFIGURATION = Path("luigi.cfg")


def find_checkout() -> Path:
    """Return the folder of the checkout, absolute and without symbolic links.

    If `$LUIGI_CONFIG_PATH` is set, it is the folder of that file. Otherwise it is the folder from which the
    package was installed, or the working directory: the first that is a checkout.

    Raises:
        SettingError: no folder is a checkout.

    """
    configuration = os.environ.get("LUIGI_CONFIG_PATH")
    if configuration:
        folder = Path(configuration).resolve().parent
        if not _is_checkout(folder):
            raise SettingError(
                f"LUIGI_CONFIG_PATH: {folder} is not a checkout: it has no {CONFIGURATION} or no {WRAPPER}; "
                "unset it, or set it to luigi.cfg of a checkout"
            )
        return folder
    for folder in filter(None, (_find_source(), Path())):
        if _is_checkout(folder):
            return folder.resolve()
    raise SettingError(
        f"no checkout found, a folder with {CONFIGURATION} and {WRAPPER}; change to yours, or set "
        "LUIGI_CONFIG_PATH to its luigi.cfg"
    )


def _is_checkout(folder: Path) -> bool:
    return (folder / CONFIGURATION).is_file() and (folder / WRAPPER).is_file()


def _find_source() -> Path | None:
    """Return the folder from which pip installed this package, as pip recorded it (PEP 610)."""
    try:
        record = importlib.metadata.distribution("luigi_etl").read_text("direct_url.json")
        url = urlsplit(str(json.loads(record or "{}")["url"]))
    except (importlib.metadata.PackageNotFoundError, ValueError, LookupError, TypeError):
        return None
    return Path(os.fsdecode(unquote_to_bytes(url.path))) if url.scheme == "file" else None
