"""Check luigid: it answers, and other machines can't reach it."""

from collections.abc import Iterator

from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.service.listeners import IS_LISTED, Listener, find_listeners, find_local_addresses
from luigi_etl.service.luigid import Address, find_problem, read_address


def check_luigid() -> Iterator[Finding]:
    """Check that luigid answers, and that other machines can't reach it."""
    luigid = read_address()
    if problem := find_problem(luigid):
        yield failed(f"{problem}: {_remedy(luigid, problem)}; until then runs don't use luigid")
        return
    if not find_local_addresses(luigid.host, luigid.port):
        yield passed(f"luigid answers at {luigid}, on another machine: its owner can't be checked")
        return
    reachable = sorted({_interface(one) for one in _find_listeners(luigid.port) if not one.is_loopback})
    if reachable:
        yield failed(
            f"luigid at port {luigid.port} accepts connections from other machines "
            f"(bound to {', '.join(reachable)}): stop it and start it with `luigi-etl luigid`"
        )
    else:
        yield passed(f"luigid answers at {luigid}, on loopback only")


def _remedy(luigid: Address, problem: str) -> str:
    if "not answer" in problem and not any(_find_listeners(luigid.port)):
        return "start it with `luigi-etl luigid`"
    return "stop what listens there, or set [core] scheduler_port, then start it with `luigi-etl luigid`"


def _find_listeners(port: int) -> list[Listener]:
    return list(find_listeners(port)) if IS_LISTED else []


def _interface(listener: Listener) -> str:
    return "every interface" if listener.is_open_to_all else str(listener)
