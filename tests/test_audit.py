"""The audit of pinned versions in .ci: a finding fails, an absent service does not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

AUDIT = Path(__file__).parents[1] / ".ci" / "audit"
pytestmark = pytest.mark.skipif(not AUDIT.exists(), reason="needs a checkout")


class Vulnerabilities(BaseHTTPRequestHandler):
    """As much of OSV as pip-audit asks for: one version of one package is vulnerable."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = []
        if (asked["package"]["name"], asked["version"]) == ("pillow", "11.0.0"):
            found = [{"id": "TEST-1", "modified": "2026-01-01T00:00:00Z", "summary": "one", "affected": []}]
        body = json.dumps({"vulns": found}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Vulnerabilities) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def audit(folder: Path, pinned: str, service: str) -> tuple[int, str]:
    file = folder / "constraints.txt"
    file.write_text(pinned)
    done = subprocess.run(
        [sys.executable, AUDIT, file, "--vulnerability-service", "osv", "--osv-url", service],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_known_vulnerability_fails(tmp_path: Path, service: str) -> None:
    code, said = audit(tmp_path, "numpy==2.0.0\npillow==11.0.0\n", service)
    assert code == 1, said
    assert "pillow 11.0.0: TEST-1" in said
    assert "2 of 2 packages audited, 1 known" in said


def test_versions_without_one_pass(tmp_path: Path, service: str) -> None:
    code, said = audit(tmp_path, "numpy==2.0.0\npillow==12.0.0\n", service)
    assert code == 0, said
    assert "2 of 2 packages audited, 0 known" in said


def test_a_service_that_cannot_be_reached_passes_and_is_said_so(tmp_path: Path) -> None:
    code, said = audit(tmp_path, "numpy==2.0.0\n", "http://127.0.0.1:9")
    assert code == 0, said
    assert "nothing was audited" in said
