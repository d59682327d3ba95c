"""Read the body of an answer within limits, whichever library brings its bytes.

A process may use 250 MB, whatever a server sends. Without a page it uses about 70 MB; a text takes up to four
bytes a character once it is decoded, beside the body and what is written of it: six to seven times
`MOST_BYTES`.
"""

import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO

from luigi_etl.common.terminal import brief

# A page of 10,000 complaints has 6.6 MB today, and had about 12 MB with narratives.
MOST_BYTES = 24 << 20
MOST_BYTES_OF_ERRORS = 64 << 10  # a message, or the reference number on a web page
MOST_RATIO = 200  # pages of complaints shrink to a tenth or a twentieth
_FREE = 1 << 20  # bytes that may come of any ratio: a short text of blanks is no attack
_AT_ONCE = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS


class WebError(Exception):
    """A request that failed and may pass; its text is one line."""


class UnusableBodyError(WebError):
    """A body that another request would bring again."""


def read_body(chunks: Iterable[bytes], encoding: str, most: int = MOST_BYTES) -> bytes:
    """Return a body; `encoding` is its Content-Encoding: gzip, once, or nothing.

    Raises:
        WebError: it is cut or damaged.
        UnusableBodyError: it is longer than `most`, or encoded in another way.

    """
    body = BytesIO()  # unlike a list of chunks, it never holds the body twice
    for piece in _decoded(chunks, encoding):
        if body.tell() + len(piece) > most:
            raise UnusableBodyError(f"the answer is longer than {most >> 20} MiB; lower [ccdb] page_size")
        body.write(piece)
    return body.getvalue()


def read_beginning(chunks: Iterable[bytes], encoding: str, most: int = MOST_BYTES_OF_ERRORS) -> bytes:
    """Return the beginning of a body that only explains a status, as far as it can be read."""
    body = b""
    try:
        for piece in _decoded(chunks, encoding):
            body += piece[: most - len(body)]
            if len(body) >= most:
                break
    except WebError:
        pass
    return body


def _decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return iter(chunks)
    if name in ("gzip", "x-gzip"):
        return _inflated(chunks)
    raise UnusableBodyError(f"the answer is encoded as {brief(encoding)}; only gzip, once, was asked for")


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give the content of a gzip file, which may have several members, in small pieces."""
    inflate = zlib.decompressobj(_GZIP)
    received = given = 0
    for chunk in chunks:
        received += len(chunk)
        rest, is_more = chunk, True
        while is_more:
            if inflate.eof and rest.startswith(b"\x1f"):
                inflate = zlib.decompressobj(_GZIP)
            try:
                piece = inflate.decompress(rest, _AT_ONCE)
            except zlib.error as error:
                raise WebError(f"the answer is damaged: {error}") from None
            given += len(piece)
            if given > max(_FREE, MOST_RATIO * received):
                raise UnusableBodyError(f"the answer inflates more than {MOST_RATIO}-fold")
            yield piece
            rest = inflate.unconsumed_tail or inflate.unused_data
            is_more = len(piece) == _AT_ONCE or (rest.startswith(b"\x1f") if inflate.eof else bool(rest))
    if received and not inflate.eof:
        raise WebError("the answer is cut")
