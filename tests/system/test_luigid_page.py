"""luigid's page in a real browser: the text of its two windows."""

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.request import urlopen

import pytest

from tests.conftest import Chain, Luigid
from tests.raw import handling
from tests.system.test_cron import browser

pytestmark = pytest.mark.slow

TASK = """
from luigi_etl import StoreComplaints
from luigi_etl.common.errors import StorageError
class Broken(StoreComplaints):
    def requires(self):
        return []
    def run(self):
        self.set_status("<b>next</b> & 'last'")
        raise {error}
"""
# Show the page in a frame, click its buttons, and write the windows' texts as JSON.
OUTER = """<html><body>
<iframe id="page" width="1400" height="900" src="/static/visualiser/index.html"></iframe>
<div id="shown"></div><script>
var clicked = {};
setInterval(function() {
  var page = document.getElementById("page").contentDocument;
  ["showError", "statusMessage"].forEach(function(kind) {
    var button = page.querySelector("#taskTable ." + kind);
    if (button && !clicked[kind]) { clicked[kind] = true; button.click(); }
  });
  var shown = ["#errorModal pre", "#statusMessageModal pre"].map(function(window) {
    var found = page.querySelector(window);
    return found ? found.textContent : null;
  });
  document.getElementById("shown").textContent = JSON.stringify(shown);
}, 200);
</script></body></html>"""


@contextmanager
def framed(luigid: Luigid) -> Iterator[str]:
    """Serve luigid's page and, from the same origin, a page that frames it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            body, kind = OUTER.encode(), "text/html"
            if self.path == "/favicon.ico":
                self.send_error(404)
                return
            if self.path != "/":
                with urlopen(f"http://127.0.0.1:{luigid.port}{self.path}", timeout=10) as answer:
                    body, kind = answer.read(), answer.headers["Content-Type"]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with handling(Handler) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("StorageError(\"cannot write <x> & 'y'\")", "cannot write <x> & 'y'"),
        ("TypeError('<script>')", "TypeError: <script>"),
    ],
)
def test_windows_show_one_line_unchanged(chain: Chain, luigid: Luigid, error: str, line: str) -> None:
    (chain.folder / "mine.py").write_text(TASK.format(error=error))
    chain.environment["PYTHONPATH"] = str(chain.folder)
    assert chain.program("luigi", "--module", "mine", "Broken").code == 30

    with framed(luigid) as address:
        page = browser(chain.folder / "chromium", "--dump-dom", address)

    (shown,) = re.findall(r'<div id="shown">(.*?)</div>', page)
    assert json.loads(html.unescape(shown)) == [line, "<b>next</b> & 'last'"]
