"""Bounded reading of response bodies, independent of the HTTP library.

A process must stay below 250 MB, whatever a server sends. It uses about 70 MB without a page. A page can take
six to seven times `MOST_BYTES`: the body, its text of up to four bytes per character, and the output.
"""

import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO

from luigi_etl.common.terminal import brief

# A page of 10,000 complaints has 6.6 MB; with narratives it had about 12 MB.
MOST_BYTES = 24 << 20
MOST_BYTES_OF_ERRORS = 64 << 10  # enough for a message, or the reference number on a web page
MOST_RATIO = 200  # pages of complaints are compressed 10-fold to 20-fold
_RATIO_FREE_BYTES = 1 << 20  # a short text of blanks is no attack, so the ratio counts only above this
_PIECE_BYTES = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS


class WebError(Exception):
    """A request that failed and may succeed later; its text is one line."""


class UnusableBodyError(WebError):
    """A body that can't be used, and that another request would return again."""


def read_body(chunks: Iterable[bytes], encoding: str, most: int = MOST_BYTES) -> bytes:
    """Return a decoded body; `encoding` is its Content-Encoding, gzip or empty.

    Raises:
        WebError: it is truncated or damaged.
        UnusableBodyError: it is longer than `most`, or has another encoding.

    """
    body = BytesIO()  # unlike joined chunks, it never holds the body twice
    for piece in _decode(chunks, encoding):
        if body.tell() + len(piece) > most:
            raise UnusableBodyError(f"the response is longer than {most >> 20} MiB; lower [ccdb] page_size")
        body.write(piece)
    return body.getvalue()


def read_beginning(chunks: Iterable[bytes], encoding: str, most: int = MOST_BYTES_OF_ERRORS) -> bytes:
    """Return the readable beginning of an error's body."""
    body = b""
    try:
        for piece in _decode(chunks, encoding):
            body += piece[: most - len(body)]
            if len(body) >= most:
                break
    except WebError:
        pass
    return body


def _decode(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return iter(chunks)
    if name in ("gzip", "x-gzip"):
        return _inflate(chunks)
    raise UnusableBodyError(f"the response is encoded as {brief(encoding)}; only plain gzip was requested")


def _inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of a gzip stream in small pieces; it may have several members."""
    inflate = zlib.decompressobj(_GZIP)
    received = inflated = 0
    for chunk in chunks:
        received += len(chunk)
        rest, is_more = chunk, True
        while is_more:
            if inflate.eof and rest.startswith(b"\x1f"):
                inflate = zlib.decompressobj(_GZIP)
            try:
                piece = inflate.decompress(rest, _PIECE_BYTES)
            except zlib.error as error:
                raise WebError(f"the response is damaged: {error}") from None
            inflated += len(piece)
            if inflated > max(_RATIO_FREE_BYTES, MOST_RATIO * received):
                raise UnusableBodyError(f"the response inflates more than {MOST_RATIO}-fold")
            yield piece
            rest = inflate.unconsumed_tail or inflate.unused_data
            is_more = len(piece) == _PIECE_BYTES or (rest.startswith(b"\x1f") if inflate.eof else bool(rest))
    if received and not inflate.eof:
        raise WebError("the response is truncated")
