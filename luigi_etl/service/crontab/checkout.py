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

    It is the folder of `$LUIGI_CONFIG_PATH` if that is set; otherwise the one this package was installed
    from, or the working directory, whichever has what cron needs first.

    Raises:
        SettingError: there is none.

    """
    configuration = os.environ.get("LUIGI_CONFIG_PATH")
    if configuration:
        folder = Path(configuration).resolve().parent
        if not _is_checkout(folder):
            raise SettingError(
                f"LUIGI_CONFIG_PATH: {folder} is no checkout: it has no {CONFIGURATION} or no {WRAPPER}; "
                "unset it, or set it to luigi.cfg of a checkout"
            )
        return folder
    for folder in filter(None, (_installed_from(), Path())):
        if _is_checkout(folder):
            return folder.resolve()
    raise SettingError(
        f"there is no checkout, a folder with {CONFIGURATION} and {WRAPPER}; go to yours, or set "
        "LUIGI_CONFIG_PATH to its luigi.cfg"
    )


def _is_checkout(folder: Path) -> bool:
    return (folder / CONFIGURATION).is_file() and (folder / WRAPPER).is_file()


def _installed_from() -> Path | None:
    """Return the folder this package was installed from, as pip left word of it (PEP 610)."""
    try:
        record = importlib.metadata.distribution("luigi_etl").read_text("direct_url.json")
        url = urlsplit(str(json.loads(record or "{}")["url"]))
    except (importlib.metadata.PackageNotFoundError, ValueError, LookupError, TypeError):
        return None
    return Path(os.fsdecode(unquote_to_bytes(url.path))) if url.scheme == "file" else None
