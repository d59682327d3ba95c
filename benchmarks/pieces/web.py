"""One request, from the start of Python to the answer.

python web.py own|other URL
"""

import sys


def own(url: str) -> bytes:
    """Ask by `luigi_etl.web`."""
    from luigi_etl.web import Session, Timeouts

    return Session(url, {}).get(url, Timeouts(10, 60)).body


def other(url: str) -> bytes:
    """Ask by requests."""
    import requests

    with requests.Session() as session:
        return session.get(url, timeout=(10, 60)).content


if __name__ == "__main__":
    if not {"own": own, "other": other}[sys.argv[1]](sys.argv[2]).startswith(b"{"):
        sys.exit("no answer")
