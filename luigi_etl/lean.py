"""Luigi without what none of our runs uses, for commands that import it anew each minute.

Where Luigi is there already, as it is under its own command, all stays as it is.
"""

import configparser
import functools
import gc
import io
import os
import sys
import tempfile
import time
from http.client import HTTPException
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from luigi_etl.errors import USAGE_ERROR
from luigi_etl.listeners import Listener, foreign_listener
from luigi_etl.luigicfg import check_readable, without_values

# Luigi takes along what it finds: requests, to speak to luigid, which urllib does as well; tornado, because
# tenacity could wait by it; jsonschema, for parameters that are a JSON object.
UNUSED = ("jsonschema", "requests", "requests_unixsocket", "tornado")


def import_luigi() -> None:
    """Import Luigi, which reads luigi.cfg then; one that can't be read ends the program with one line."""
    if "luigi" in sys.modules:
        return
    _choose_temporary_folder()
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: there is no such module
    gc.disable()  # of what is imported nothing is garbage
    try:
        check_readable()
        from luigi import configuration, rpc

        check_readable(configuration.get_config()._config_paths)
    except (configparser.Error, UnicodeDecodeError) as error:
        _refuse(f"luigi.cfg can't be read ({without_values(error)}): correct it")
    except ValueError as error:
        _refuse(str(error))
    finally:
        gc.freeze()
        gc.enable()
        for name in hidden:
            del sys.modules[name]
    # urllib tells of a connection that was cut as such, which Luigi does not expect of it.
    rpc.URLLibFetcher.raises = (OSError, HTTPException)  # type: ignore[assignment]
    # It would also ask luigid, on this machine, through the environment's proxy, which is for the API.
    rpc.urlopen = _ask_directly  # type: ignore[assignment,attr-defined]


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"luigi_etl: error: {message}\n")
    sys.exit(USAGE_ERROR)


def _choose_temporary_folder() -> None:
    """Let Luigi name a temporary folder although there is room in none: it would end with a traceback."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # where nothing can be written


def _ask_directly(request: Request, timeout: float) -> Any:
    """Ask luigid; a program of another user in its place, or an answer that is not luigid's, counts as away.

    Luigi would take over tasks from the first, and end with a traceback at the second.
    """
    import json

    url = urlsplit(request.full_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    if foreign := _foreign_listener(url.hostname or "", port, int(time.monotonic())):
        raise URLError(f"another user's program (uid {foreign.uid}) listens there")
    content = _opener().open(request, timeout=timeout).read()
    try:
        json.loads(content)["response"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise URLError("the answer is not luigid's") from None
    return io.BytesIO(content)


@functools.lru_cache(maxsize=1)
def _foreign_listener(host: str, port: int, _second: int) -> Listener | None:
    """Look once a second: the kernel's list is long on a machine with many connections."""
    return foreign_listener(host, port)


@functools.cache
def _opener() -> OpenerDirector:
    """Return what asks: made when it first does, as from Python 3.12 on that reads all certificates."""
    return build_opener(ProxyHandler({}))


def keep_what_stays_the_same(task: str) -> None:
    """Let Luigi keep the parameters of each task, and the one parser of a command line that asks for `task`.

    It would build that nine times in a run. The task must be defined by then.
    """
    import luigi
    from luigi.cmdline_parser import CmdlineParser

    base: Any = luigi.Task
    parser: Any = CmdlineParser
    cached: Any = functools.cache
    base.get_params = classmethod(cached(base.get_params.__func__))
    if hasattr(parser, "_build_parser"):  # not of Luigi's interface: it may go
        build = cached(parser._build_parser)
        parser._build_parser = staticmethod(
            lambda **asked: build(**{"help_all": False, **asked, "root_task": task})
        )
