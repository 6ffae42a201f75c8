"""The cluster: Ray, joined or started, and what its nodes have to work with."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from clipsearch.errors import ClusterError, UsageError
from clipsearch.machine import usable_cores
from clipsearch.shards import INSTALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOCAL = "local"
_AUTO = "auto"
_CLIENT = "ray://"
_CONNECT_S = 10.0
_JOIN_S = 60.0
_START_S = 300.0  # a busy machine takes half a minute
# What passes between driver and workers is lists of paths; Ray's own default is a third of the memory.
_OBJECTS = 256_000_000


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker gets of a node, and how many workers there are.

    Attributes:
        cores: Processor cores.
        gpus: 1, or 0 where no node has one.
        workers: That fit onto the nodes there are.
    """

    cores: int
    gpus: int
    workers: int


@contextmanager
def cluster(address: str, *, cores: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected; what was started for this is ended after.

    Args:
        address: `local` for a cluster of this machine alone, which nobody else can join; `HOST:PORT` of one
            that this machine is a node of; `auto` for the one it is a node of; `ray://HOST:PORT`.
        cores: Of this machine, for `local`; all when None.

    Raises:
        UsageError: Ray is not installed, or this is no address.
        ClusterError: The cluster cannot be reached.
    """
    if address not in {LOCAL, _AUTO}:
        _check_address(address)
    # Both are read while Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not os.environ.get("CLIPSEARCH_DEBUG"):
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        # Whoever has no token is turned away; Ray's own way would leave one behind in the user's home.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        options |= {
            "num_cpus": cores or usable_cores(),
            "object_store_memory": _OBJECTS,
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
    with _hushed():
        try:
            import ray
            import ray.data
        except ImportError:
            raise UsageError("this needs Ray, which is not installed", INSTALL) from None
        _silence()
        if ray.is_initialized():
            raise ClusterError("this program is connected to a Ray cluster already", "end it: ray.shutdown()")
        _join(ray, address, options)
    # What happens to nodes is printed by a thread of Ray's, to where results belong.
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123 - a device, not a path
        try:
            yield ray
        finally:
            ray.shutdown()


def share(nodes: Sequence[dict[str, Any]], *, workers: int | None, cores: int | None) -> Share:
    """Share the nodes out: a worker for each GPU where there are any, else one for each node.

    Args:
        nodes: As `ray.nodes()` describes them.
        workers: How many; as many as fit when None.
        cores: Of each; when None, all that its share of the smallest node has.

    Raises:
        ClusterError: There is nothing to work with.
    """
    held = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = any(one.get("GPU", 0) >= 1 for one in held)
    able = [one for one in held if one.get("CPU", 0) >= 1 and (not gpus or one.get("GPU", 0) >= 1)]
    if not able:
        raise ClusterError("no node of the cluster has a processor core to spare", "see: ray status")
    places = [int(one["GPU"]) if gpus else 1 for one in able]
    if workers is not None and not gpus:  # several may share a node
        places = [-(-workers // len(able))] * len(able)
    least = min(int(one["CPU"]) // place for one, place in zip(able, places, strict=True))
    each = cores or max(1, least)
    room = sum(min(int(one["CPU"]) // each, int(one["GPU"]) if gpus else int(one["CPU"])) for one in able)
    if not room:
        raise ClusterError(f"no node of the cluster has {each} cores", "ask for fewer: --cores N")
    return Share(each, int(gpus), workers or room)


def _join(ray: Any, address: str, options: dict[str, Any]) -> None:
    """Connect, within a time limit that Ray itself does not have where something else answers.

    Raises:
        ClusterError: It does not come about.
    """
    outcome: SimpleQueue[Exception | None] = SimpleQueue()

    def work() -> None:
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            outcome.put(error)
        else:
            outcome.put(None)

    threading.Thread(target=work, name="join", daemon=True).start()
    try:
        error = outcome.get(timeout=_START_S if address == LOCAL else _JOIN_S)
    except Empty:
        raise _unreachable(address, "no answer of a Ray of this version") from None
    if error is not None:
        ray.shutdown()
        raise _unreachable(address, _first_line(error)) from error


def _check_address(address: str) -> None:
    """See that something answers there at all: Ray itself would try for minutes, and may end the process.

    Raises:
        UsageError: This is no address.
        ClusterError: Nothing answers.
    """
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(
            f"not the address of a Ray cluster: {address}",
            "write HOST:PORT, as `ray start` shows it, or local",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = (
            "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
        )
        raise _unreachable(address, reason.lower()) from error


def _unreachable(address: str, reason: str) -> ClusterError:
    if address == LOCAL:
        return ClusterError(
            f"no Ray cluster can be started on this machine ({reason})", "see /tmp/ray for its logs"
        )
    return ClusterError(
        f"the Ray cluster at {address} cannot be reached ({reason})",
        "see that it runs (`ray status`), and that RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH are its own",
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep Ray's C++ parts, which know of no logger of Python's, from writing to standard error."""
    if os.environ.get("CLIPSEARCH_DEBUG"):
        yield
        return
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _silence() -> None:
    """What Ray says on its own would land between the lines of a progress bar."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _first_line(error: BaseException) -> str:
    said = (str(error) or type(error).__name__).strip().splitlines()[0]
    return said[:1].lower() + said[1:].rstrip(".")
