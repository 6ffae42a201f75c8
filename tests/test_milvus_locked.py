"""A Milvus server that asks for credentials, and speaks TLS.

It has a module of its own: of the server of the tests before, only one can run at a time.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trustme
from mean_color import MODEL, unit
from milvus_server import MilvusServer, clipsearch

from clipsearch.catalog.catalog import Arrival, Catalog
from clipsearch.types import Metadata

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


@pytest.fixture
def library(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "there").touch()
    (tmp_path / "library").mkdir()
    with Catalog(tmp_path / "library", write=True) as catalog:
        key, root = catalog.choose_model(MODEL), catalog.add_root(photos, [])
        facts = (4, 3, Metadata())
        catalog.record([Arrival(root, b"a.jpg", 1, 1, bytes(32), facts, unit(np.ones(3)))], [], key)
    return tmp_path / "library"


def test_credentials_and_tls(library: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    (tmp_path / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (tmp_path / "cert.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    locked = MilvusServer(
        tmp_path / "data",
        [
            *("--authorization-enabled", "true", "--tls-mode", "1"),
            *("--server-pem-path", str(tmp_path / "cert.pem")),
            *("--server-key-path", str(tmp_path / "key.pem")),
        ],
    )
    try:
        locked.start()
        address = locked.address.replace("milvus://127.0.0.1", "milvuss://localhost")
        trusted = {"CLIPSEARCH_MILVUS_CA": str(tmp_path / "ca.pem"), "CLIPSEARCH_MILVUS_TIMEOUT": "5"}
        right = {**trusted, "CLIPSEARCH_MILVUS_USER": "root", "CLIPSEARCH_MILVUS_PASSWORD": "Milvus"}
        sent = clipsearch("export", "--to", address, "-L", str(library), env=right)
        assert sent.returncode == 0, sent
        assert clipsearch("status", "-L", address, env=right).returncode == 0
        config = tmp_path / "milvus.toml"
        config.touch(0o600)
        config.write_text(
            f'["{address.split("/")[2]}"]\ntoken = "root:Milvus"\nca = "{tmp_path / "ca.pem"}"\n'
        )
        from_file = {"CLIPSEARCH_MILVUS_CONFIG": str(config)}
        assert clipsearch("status", "-L", address, env=from_file).returncode == 0

        secret = hashlib.sha256(b"x").hexdigest()
        for wrong in (
            {**right, "CLIPSEARCH_MILVUS_PASSWORD": secret},
            {**trusted, "CLIPSEARCH_MILVUS_TOKEN": secret},
            trusted,
        ):
            refused = clipsearch("status", "-L", address, env={**wrong, "CLIPSEARCH_DEBUG": "1"})
            assert refused.returncode == 2
            assert "credentials" in refused.stderr.splitlines()[-2], refused.stderr
            assert secret not in refused.stdout + refused.stderr
        untrusted = {**right, "CLIPSEARCH_MILVUS_CA": "", "CLIPSEARCH_MILVUS_TIMEOUT": "2"}
        for place in (address, address.replace("milvuss", "milvus")):
            refused = clipsearch("status", "-L", place, env=untrusted)
            assert refused.returncode == 2
            assert "does not answer" in refused.stderr.splitlines()[0]
    finally:
        locked.kill()
