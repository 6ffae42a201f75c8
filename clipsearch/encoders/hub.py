"""Files from the Hugging Face hub: once over the network, then from the cache without it.

huggingface_hub does the transfer into its own cache (temporary file, lock, rename, resume with Range),
so models are shared with every other program that uses it. What it lacks is a bound on time: a host
that accepts and never answers keeps it for minutes. Here every call runs in a daemon thread and is
given up after `ANSWER_SECONDS` without an answer or `STALL_SECONDS` without a byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
import threading
import time
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clipsearch.errors import ModelUnavailableError, UnknownModelError
from clipsearch.types import DownloadProgress, Listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ANSWER_SECONDS = 7.0  # for the first answer; with start-up, an error is on the screen within 10 s
STALL_SECONDS = 30.0  # huggingface_hub needs up to 12 s to notice a dead connection and resume
ATTEMPTS = 3
WAYS_OUT = (
    "go online once; or name another hub with HF_ENDPOINT; or use your own files with --weights FILE or "
    "--model local-dir:FOLDER; or the small model that ships with clipsearch: --model builtin"
)

# Names stand in the files of other repositories, too. A path is none.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Result = TypeVar("_Result")


def fetch(repo: str, names: Sequence[str], *, model: str, listeners: Listeners | None = None) -> Path:
    """Path of the first of `names` that `repo` holds, downloaded if it is not in the cache.

    A cached file is used without any request. `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE` and `HF_TOKEN`
    mean what they mean to huggingface_hub.

    Args:
        repo: `ORG/REPO`.
        names: File names, the preferred one first.
        model: What the user asked for, for error messages.
        listeners: `download` is called about ten times a second, on this thread.

    Raises:
        ModelUnavailableError: Not cached, and the hub cannot be reached, does not answer within
            `ANSWER_SECONDS`, breaks off, or sends bytes that do not match its own SHA-256.
        UnknownModelError: The hub answers that it has no such repository or none of these files.
    """
    if not isinstance(repo, str) or not _REPOSITORY.fullmatch(repo):
        raise UnknownModelError(f"{model}: {repo!r} is not the name of a repository on the hub")
    hub = quiet_hub()
    for name in names:
        cached = hub.try_to_load_from_cache(repo, name, cache_dir=_cache())
        if isinstance(cached, str):
            return Path(cached)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise _unavailable(model, "it is not in the cache, and HF_HUB_OFFLINE forbids to download it")
    for name in names:
        metadata = _metadata(hub, repo, name, model)
        if metadata is not None:
            return _download(repo, name, metadata, model=model, listeners=listeners or Listeners())
    raise UnknownModelError(f"{repo} on {_endpoint()} holds no {' and no '.join(names)}")


def quiet_hub() -> Any:
    """The package huggingface_hub, imported as clipsearch wants it; call before importing OpenCLIP.

    No log lines or bars of its own on the terminal, no telemetry, and no Xet transfers: they go to
    other hosts, with retries that cannot be bounded; plain HTTP serves the same files.
    """
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # read when the package is first imported
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub
    import huggingface_hub.file_download

    utils: Any = importlib.import_module("huggingface_hub.utils")  # its typing hides what it documents
    if "HF_HUB_VERBOSITY" not in os.environ:
        utils.logging.set_verbosity_error()
    if "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        utils.disable_progress_bars()
    return huggingface_hub


# huggingface_hub reads these when it is imported; a program that sets them later means them too.
def _endpoint() -> str:
    endpoint: str = os.environ.get("HF_ENDPOINT") or quiet_hub().constants.ENDPOINT
    return endpoint.rstrip("/")


def _cache() -> str:
    if folder := os.environ.get("HF_HUB_CACHE"):
        return folder
    if home := os.environ.get("HF_HOME"):
        return str(Path(home).expanduser() / "hub")
    cache: str = quiet_hub().constants.HF_HUB_CACHE
    return cache


def _metadata(hub: Any, repo: str, name: str, model: str) -> Any:
    """Size and ETag of a file, or None when the repository has no such file."""
    endpoint = _endpoint()
    url = hub.hf_hub_url(repo, name, endpoint=endpoint)
    answer = _in_background(lambda: hub.get_hf_file_metadata(url, timeout=ANSWER_SECONDS))
    try:
        return answer.result(timeout=ANSWER_SECONDS)
    except TimeoutError as error:
        raise _unavailable(model, f"no answer from {endpoint} within {ANSWER_SECONDS:.0f} s") from error
    except hub.errors.GatedRepoError as error:
        raise ModelUnavailableError(
            f"{model}: {repo} is gated on {endpoint}", "accept its licence there and set HF_TOKEN"
        ) from error
    except hub.errors.RepositoryNotFoundError as error:
        raise UnknownModelError(
            f"{model}: {endpoint} has no public model {repo}", "check the name; set HF_TOKEN if it is private"
        ) from error
    except hub.errors.EntryNotFoundError:
        return None
    except Exception as error:  # requests or httpx, by the version of huggingface_hub
        raise _unavailable(model, f"{endpoint} cannot be reached: {_cause(error)}") from error


def _download(repo: str, name: str, metadata: Any, *, model: str, listeners: Listeners) -> Path:
    hub = quiet_hub()
    endpoint, cache = _endpoint(), _cache()
    folder = hub.file_download.repo_folder_name(repo_id=repo, repo_type="model")
    progress = _Progress(Path(cache) / folder / "blobs", metadata, name, listeners)

    def transfer() -> str:
        path: str = hub.hf_hub_download(
            repo, name, endpoint=endpoint, cache_dir=cache, etag_timeout=ANSWER_SECONDS
        )
        return path

    for attempt in range(1, ATTEMPTS + 1):
        try:
            path = Path(progress.wait(_in_background(transfer)))
        except TimeoutError as error:
            cause = f"the download of {name} stalled for {STALL_SECONDS:.0f} s"
            raise _unavailable(model, cause) from error
        except Exception as error:
            if attempt == ATTEMPTS or isinstance(error, PermissionError):
                cause = f"the download of {name} failed: {_cause(error)}"
                raise _unavailable(model, cause) from error
            time.sleep(1)  # as huggingface_hub between its own attempts
        else:
            _verify(path, metadata.etag, model)
            return path
    raise AssertionError


class _Progress:
    """Watches the temporary files that huggingface_hub writes, which works for all its versions."""

    def __init__(self, blobs: Path, metadata: Any, name: str, listeners: Listeners) -> None:
        self._pattern = f"{metadata.etag}*.incomplete"
        self._blobs = blobs
        self._name = name
        self._total = metadata.size or 0
        self._listener = listeners.download
        # Left over by a process that was killed: not ours.
        self._before = set(blobs.glob(self._pattern))
        self._last = (-1, time.monotonic())

    def wait(self, transfer: Future[str]) -> str:
        """Returns the transfer's result. Raises TimeoutError when no byte arrives for STALL_SECONDS."""
        try:
            while True:
                wait([transfer], timeout=0.1)
                if transfer.done():
                    path = transfer.result()
                    self._tell(self._total)
                    return path
                done = self._bytes()
                self._tell(done)
                if done > self._last[0]:
                    self._last = (done, time.monotonic())
                elif time.monotonic() - self._last[1] > STALL_SECONDS:
                    raise TimeoutError
        finally:
            if not transfer.done():  # given up or Ctrl-C: the thread is left behind, its file is not
                for leftover in set(self._blobs.glob(self._pattern)) - self._before:
                    with contextlib.suppress(OSError):
                        leftover.unlink()

    def _bytes(self) -> int:
        sizes = [0]
        for path in self._blobs.glob(self._pattern):
            with contextlib.suppress(OSError):
                sizes.append(path.stat().st_size)
        return max(sizes)

    def _tell(self, done: int) -> None:
        if self._listener is not None:
            self._listener(DownloadProgress(self._name, done, self._total))


def check_cached(path: Path, digest: str, model: str) -> None:
    """Compare a cached file's SHA-256 with the name of its blob, which is the hub's own checksum.

    Files that do not lie in the cache, or whose blob is named otherwise (small ones), pass.

    Raises:
        ModelUnavailableError: It differs; the file was deleted from the cache.
    """
    blob = path.resolve()
    if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
        _compare(path, digest, blob.name, model)


def _verify(path: Path, etag: str | None, model: str) -> None:
    """Compare with the hub's own checksum: the ETag of a large file is its SHA-256."""
    if etag is not None and _SHA256.fullmatch(etag):
        with path.open("rb") as file:
            _compare(path, hashlib.file_digest(file, "sha256").hexdigest(), etag, model)


def _compare(path: Path, digest: str, wanted: str, model: str) -> None:
    if digest != wanted:
        blob = path.resolve()
        path.unlink()
        blob.unlink(missing_ok=True)
        cause = f"{path.name} arrived damaged (its SHA-256 is not the hub's) and was deleted; try again"
        raise _unavailable(model, cause)


def _in_background(work: Callable[[], _Result]) -> Future[_Result]:
    """Run in a daemon thread, which a hanging connection cannot keep from ending the process."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="clipsearch-hub").start()
    return future


def _cause(error: BaseException) -> str:
    """The innermost reason, in one line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
    return " ".join(text.splitlines()[0].split())


def _unavailable(model: str, cause: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"cannot get the model {model}: {cause}", WAYS_OUT)
