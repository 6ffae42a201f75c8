"""The job on a real Ray cluster of two nodes: what is embedded, whoever is killed meanwhile.

Ray listens on every interface: run these where there is none but loopback, see .ci/cluster.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from milvus_server import MilvusServer

from clipsearch import Library
from clipsearch.rows import from_arrow
from clipsearch.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clipsearch.rows import Row

pytestmark = pytest.mark.cluster

SOURCE = Path(__file__).parents[1]
PATIENCE = 300.0


class Nodes:
    """A head and a worker on loopback, one core each; Ray needs some short folder of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        token = self._folder / "token"
        token.write_text(secrets.token_hex(32))
        self.environment |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(SOURCE),
        }
        self._port = _free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._head = self._start(
            "--head", f"--port={self._port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"
        )
        self._worker: subprocess.Popen[bytes] | None = None
        _wait(self._answers)

    def join(self) -> None:
        """Start the second node, and wait until the cluster has both."""
        if self._worker is None:
            self._worker = self._start(f"--address={self.address}", "--node-ip-address=127.0.0.2")
        _wait(lambda: self._alive() == 2)

    def kill_worker(self) -> None:
        """As if the second machine had lost its power."""
        assert self._worker is not None
        _kill_all(self._worker.pid)
        self._worker.wait()
        self._worker = None

    def close(self) -> None:
        for process in (self._worker, self._head):
            if process is not None:
                _kill_all(process.pid)
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        ray = Path(sys.executable).with_name("ray")
        command = [str(ray), "start", "--num-cpus=1", "--object-store-memory=100000000", "--block", *options]
        if "--head" in options:
            command.append(f"--temp-dir={self._folder}")
        return subprocess.Popen(
            command,
            env=self.environment,
            cwd=SOURCE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _answers(self) -> bool:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self._port), 1)):
            return True
        return False

    def _alive(self) -> int:
        program = (
            "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False);"
            "print(sum(node['Alive'] for node in ray.nodes()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, self.address],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return int(done.stdout) if done.stdout.strip().isdigit() else 0

    def program(self, *arguments: str | Path) -> list[str]:
        """The job's command line."""
        command = [sys.executable, "-m", "clipsearch", "cluster", "index", *map(str, arguments)]
        return [*command, "--ray", self.address, "--json"]

    def index(self, *arguments: str | Path) -> dict[str, Any]:
        """Run the job to its end; returns its report."""
        done = subprocess.run(
            self.program(*arguments), env=self.environment, cwd=SOURCE, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def _wait(for_what: object, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not for_what():  # type: ignore[operator]
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.2)


def _kill_all(pid: int) -> None:
    """Kill a process and all that it has started, at once."""
    family = [pid]
    for parent in family:  # it grows
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                family += map(int, (task / "children").read_text().split())
    for one in family:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _finished(target: Path) -> int:
    return len(list(target.glob("photos/part-*.parquet")))


def _content(target: Path | str) -> dict[str, tuple[Row, bytes]]:
    found: dict[str, tuple[Row, bytes]] = {}
    rows_there = 0
    for batch in Shards(str(target)).batches():
        rows, vectors = from_arrow(batch)
        rows_there += len(rows)
        found |= {row.path: (row, vector.tobytes()) for row, vector in zip(rows, vectors, strict=True)}
    assert len(found) == rows_there
    return found


@pytest.fixture(autouse=True)
def _model(builtin_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))


@pytest.fixture(scope="module")
def nodes(builtin_cache: Path) -> Iterator[Nodes]:
    pytest.importorskip("ray")
    started = Nodes(os.environ | {"CLIPSEARCH_CACHE": str(builtin_cache)})
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def undisturbed(nodes: Nodes, shared_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All photos, embedded by two nodes that nobody has disturbed."""
    target = tmp_path_factory.mktemp("job") / "embedded"
    nodes.join()
    report = nodes.index(shared_photos, "--model", "builtin", "--to", target)
    assert (report["photos"], report["skipped"], report["workers"]) == (1000, 0, 2)
    return target


@pytest.fixture(scope="module")
def local(builtin_cache: Path, shared_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photos, indexed here."""
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
        with Library(folder) as library:
            library.index([shared_photos], model="builtin")
    return folder


def _same(one: Library, other: Library, photos: Path) -> int:
    """For how many of 100 captions both find the same ten photos."""
    lines = (photos / "captions.tsv").read_text().splitlines()
    same = 0
    for line in lines[1:101]:
        found, wanted = (library.search(line.split("\t")[-1]) for library in (one, other))
        same += [match.path for match in found] == [match.path for match in wanted]
        np.testing.assert_allclose(
            [match.score for match in found], [match.score for match in wanted], atol=1e-3
        )
    return same


def test_a_library_of_what_two_nodes_have_embedded_answers_like_one_made_here(
    undisturbed: Path,
    local: Path,
    shared_photos: Path,
    tmp_path: Path,
) -> None:
    with Library(tmp_path / "imported") as imported, Library(local) as indexed:
        imported.import_photos(str(undisturbed))
        assert _same(imported, indexed, shared_photos) >= 99


def test_photos_come_through_the_job_into_milvus(
    nodes: Nodes,
    undisturbed: Path,
    local: Path,
    shared_photos: Path,
    tmp_path: Path,
) -> None:
    server = MilvusServer(tmp_path / "milvus")
    server.start()
    try:
        nodes.join()
        first = nodes.index(shared_photos, "--to", server.address, "--staging", undisturbed)
        assert (first["finished"], first["milvus"]) == (1000, {"new": 1000, "unchanged": 0})
        again = nodes.index(shared_photos, "--to", undisturbed, "--to", server.address)
        assert again["milvus"] == {"new": 0, "unchanged": 1000}
        with Library.open(server.address) as collection, Library(local) as indexed:
            assert _same(collection, indexed, shared_photos) >= 99
    finally:
        server.kill()


def test_a_node_killed_in_the_middle_costs_time_only(
    nodes: Nodes, undisturbed: Path, shared_photos: Path, tmp_path: Path
) -> None:
    target = tmp_path / "embedded"
    nodes.join()
    job = subprocess.Popen(
        nodes.program(shared_photos, "--model", "builtin", "--to", target, "--shard", "40"),
        env=nodes.environment,
        cwd=SOURCE,
        stdout=subprocess.PIPE,
    )
    _wait(lambda: _finished(target) >= 5 or job.poll() is not None)
    nodes.kill_worker()
    out, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0
    assert json.loads(out)["photos"] == 1000
    assert _content(target) == _content(undisturbed)


def test_a_killed_job_embeds_only_what_is_missing(
    nodes: Nodes, undisturbed: Path, shared_photos: Path, tmp_path: Path
) -> None:
    target = tmp_path / "embedded"
    nodes.join()
    command = nodes.program(shared_photos, "--model", "builtin", "--to", target, "--shard", "40")
    job = subprocess.Popen(command, env=nodes.environment, cwd=SOURCE, stdout=subprocess.DEVNULL)
    _wait(lambda: _finished(target) >= 5 or job.poll() is not None)
    assert job.poll() is None
    _kill_all(job.pid)
    job.wait()
    before = {file: file.stat().st_mtime_ns for file in target.glob("photos/part-*.parquet")}
    report = nodes.index(shared_photos, "--to", target, "--shard", "40")
    there = {file: file.stat().st_mtime_ns for file in target.glob("photos/part-*.parquet")}
    assert before.items() <= there.items()
    assert report["finished"] >= 40 * len(before)
    assert report["photos"] == 1000 - report["finished"]
    assert report["encoded"] <= report["photos"]
    assert _content(target) == _content(undisturbed)
    again = nodes.index(shared_photos, "--to", target)
    assert (again["photos"], again["finished"], again["shards"]) == (0, 1000, 0)


def test_photos_come_from_object_storage_and_go_there(
    nodes: Nodes, undisturbed: Path, shared_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = pytest.importorskip("moto.server")
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    account = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
    for name, value in {**account, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.mkdir("bucket")
    names = sorted(path.relative_to(shared_photos) for path in shared_photos.rglob("*.jpg"))[::10]
    for name in names:
        files.pipe_file(f"bucket/photos/{name}", (shared_photos / name).read_bytes())
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "clipsearch", "cluster", "index", "s3://bucket/photos", "--json"),
                *("--model", "builtin", "--to", "s3://bucket/embedded"),
            ],
            env=nodes.environment | {name: os.environ[name] for name in (*account, "AWS_ENDPOINT_URL")},
            capture_output=True,
            cwd=SOURCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout)["photos"] == len(names)
        with Library(tmp_path / "library") as library:
            report = library.import_photos(
                "s3://bucket/embedded", roots={"s3://bucket/photos": str(shared_photos)}
            )
            assert (report.new, report.roots) == (len(names), (shared_photos,))
        wanted = _content(undisturbed)
        for path, (row, vector) in _content("s3://bucket/embedded").items():
            here = wanted[path.replace("s3://bucket/photos", str(shared_photos))]
            assert (row.hash, vector) == (here[0].hash, here[1])
    finally:
        server.stop()
