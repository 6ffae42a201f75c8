"""How to speak to a server: credentials, certificate and patience, from the environment or a file.

Never from the command line, which other users of the machine can read.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import UsageError
from clipsearch.stores.milvus import Server

if TYPE_CHECKING:
    from clipsearch.address import Address

TIMEOUT_S = 10.0
_PREFIX = "CLIPSEARCH_MILVUS_"
_NAMES = ("token", "user", "password", "ca", "timeout")


def settings_file() -> Path:
    """`$CLIPSEARCH_MILVUS_CONFIG`, or `milvus.toml` in the platform's folder for a user's settings."""
    if chosen := os.environ.get(f"{_PREFIX}CONFIG"):
        return Path(chosen)
    from platformdirs import user_config_path

    return user_config_path("clipsearch", appauthor=False) / "milvus.toml"


def server_of(address: Address) -> Server:
    """The server of an address, with what the environment says of it, else the file.

    The environment has `CLIPSEARCH_MILVUS_TOKEN`, `_USER`, `_PASSWORD`, `_CA` and `_TIMEOUT`; the file a
    table for each server, `["HOST:PORT"]`, with these names in lower case.

    Raises:
        UsageError: The file cannot be read, or others can; or a value is none.
    """
    values = _from_file(address.server) if address.kind != "file" else {}
    values |= {
        name: os.environ[_PREFIX + name.upper()] for name in _NAMES if _PREFIX + name.upper() in os.environ
    }
    token = values.get("token", "")
    if not token and values.get("user"):
        token = f"{values['user']}:{values.get('password', '')}"
    try:
        timeout = float(values.get("timeout", TIMEOUT_S))
    except ValueError:
        timeout = 0.0
    if not 0 < timeout < float("inf"):
        raise UsageError(f"not a time limit: {values['timeout']!r}", f"give seconds: {_PREFIX}TIMEOUT=30")
    ca = Path(values["ca"]) if values.get("ca") else None
    if ca is not None and not ca.is_file():
        raise UsageError(f"no such file of certificates: {ca}", f"see {_PREFIX}CA")
    scheme = {"plain": "http://", "tls": "https://", "file": ""}[address.kind]
    name = address.server if address.kind == "file" else f"the Milvus server {address.server}"
    return Server(name, scheme + address.server, token, ca, timeout)


def _from_file(server: str) -> dict[str, str]:
    file = settings_file()
    try:
        with file.open("rb") as stream:
            if os.name == "posix" and os.fstat(stream.fileno()).st_mode & 0o077:
                raise UsageError(
                    f"others can read the passwords in {file}", f"keep it to yourself: chmod 600 {file}"
                )
            tables = tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # the error of a bad file may quote a line with a password
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "it is no TOML"
        raise UsageError(f"cannot be read: {file} ({reason})") from None
    table = tables.get(server, {})
    if not isinstance(table, dict) or not table.keys() <= set(_NAMES):
        raise UsageError(
            f"{file}: [{server}] is no table of settings", f"what may stand there: {', '.join(_NAMES)}"
        )
    return {name: str(value) for name, value in table.items()}
