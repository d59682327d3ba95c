"""Check luigid: it answers, and other machines can't reach it."""

from collections.abc import Iterator

from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.service.listeners import IS_LISTED, Listener, listeners, local_addresses
from luigi_etl.service.luigid import Address, address, problem_of


def check_luigid() -> Iterator[Finding]:
    """Check that luigid answers, and that other machines can't reach it."""
    luigid = address()
    if problem := problem_of(luigid):
        yield failed(f"{problem}: {_remedy_for_luigid(luigid, problem)}; until then runs go without")
        return
    if not local_addresses(luigid.host, luigid.port):
        yield passed(f"luigid answers at {luigid}, on another machine: whose it is can't be checked")
        return
    open_to = sorted({_interface(one) for one in _listeners(luigid.port) if not one.is_loopback})
    if open_to:
        yield failed(
            f"luigid at port {luigid.port} lets other machines in (bound to {', '.join(open_to)}): "
            "stop it and start it with `luigi-etl luigid`"
        )
    else:
        yield passed(f"luigid answers at {luigid}, on loopback only")


def _remedy_for_luigid(luigid: Address, problem: str) -> str:
    if "not answer" in problem and not any(_listeners(luigid.port)):
        return "start it with `luigi-etl luigid`"
    return "stop what listens there, or set [core] scheduler_port, then start it with `luigi-etl luigid`"


def _listeners(port: int) -> list[Listener]:
    return list(listeners(port)) if IS_LISTED else []


def _interface(listener: Listener) -> str:
    return "every interface" if listener.is_open_to_all else str(listener)
