"""What others wrote must not act here: code, models, and where our own data goes. See docs/security.md."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from tiny_model import make_local_dir

import clipsearch
from clipsearch.encoders import hub, registry
from clipsearch.encoders.openclip import load
from clipsearch.errors import BadCheckpointError, UnknownModelError
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Promised

PACKAGE = Path(clipsearch.__file__).parent

# Modules that turn data into code, or keep data in a form that can.
UNSAFE_MODULES = {
    "cPickle",
    "cloudpickle",
    "code",
    "dill",
    "joblib",
    "marshal",
    "pty",
    "shelve",
    "telnetlib",
    "xmlrpc",
}
UNSAFE_CALLS = {
    "__import__",
    "compile",
    "eval",
    "exec",
    "mktemp",
    "os.popen",
    "os.system",
    "pickle.Pickler",
    "pickle.Unpickler",
    "pickle.dump",
    "pickle.dumps",
    "pickle.load",
    "pickle.loads",
    "tempfile.gettempdir",
    "tempfile.mktemp",
    "torch.hub.load",
    "torch.jit.load",
    "yaml.load",
    "yaml.unsafe_load",
}


def dangers(source: str) -> Iterator[str]:
    """What in a module's source could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from imported([alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom):
            yield from imported([f"{node.module}.{alias.name}" for alias in node.names])
        elif isinstance(node, ast.Call):
            yield from called(node)


def imported(names: list[str]) -> Iterator[str]:
    for name in names:
        if name.partition(".")[0] in UNSAFE_MODULES or name in UNSAFE_CALLS:
            yield f"import of {name}"


def called(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in UNSAFE_CALLS or name.startswith("os.spawn"):
        yield name
    if name.endswith(("torch.load", "load_checkpoint")) and options.get("weights_only") != "True":
        yield f"{name} without weights_only"
    for option in ("allow_pickle", "shell", "trust_remote_code"):
        if options.get(option, "False") != "False":
            yield f"{name} with {option}"


def test_nothing_in_the_package_runs_what_it_reads(promised: Promised) -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    found = [
        f"{path.relative_to(PACKAGE)}: {danger}" for path in modules for danger in dangers(path.read_text())
    ]
    assert found == []
    assert len(modules) > 60
    promised("No module unpickles, evaluates or hands to a shell what it reads", len(modules), "modules read")


def test_onnx_runtime_is_imported_in_one_place_which_silences_it() -> None:
    importing = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) onnxruntime\b", path.read_text(), re.MULTILINE)
    ]
    assert importing == ["encoders/runtime.py"]
    script = "import os, clipsearch.encoders.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    assert said.stdout.strip() == b"1"


@pytest.mark.parametrize(
    "source",
    [
        "import marshal",
        "from shelve import open",
        "from pickle import loads",
        "pickle.loads(x)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "np.load(x, allow_pickle=y)",
        "yaml.load(x)",
        "eval(x)",
        "exec(x)",
        "os.system(x)",
        "subprocess.run(x, shell=True)",
        "open_clip.load_checkpoint(a, b)",
        "AutoModel.from_config(x, trust_remote_code=True)",
    ],
)
def test_what_would_run_data_is_recognised(source: str) -> None:
    assert list(dangers(source))


class _Evil:
    """Writes a file when it is unpickled by a reader that trusts it."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._marker),)


def hostile_checkpoints(folder: Path, marker: Path) -> Iterator[Path]:
    """The forms in which a checkpoint can hold code."""
    import torch

    evil = _Evil(marker)
    for number, content in enumerate(
        ({"state_dict": evil}, evil, {"weight": torch.zeros(3), evil: 1}, [evil])
    ):
        path = folder / f"{number}.pt"
        torch.save(content, path)
        yield path
        path = folder / f"{number}-old.pt"
        torch.save(content, path, _use_new_zipfile_serialization=False)
        yield path
        for suffix in ("bin", "pth", "safetensors"):
            path = folder / f"{number}.{suffix}"
            path.write_bytes(pickle.dumps(content))
            yield path
    evils = np.array([evil], object)
    np.save(folder / "array.npy", evils, allow_pickle=True)
    yield folder / "array.npy"
    np.savez(folder / "arrays.npz", params=evils)
    yield folder / "arrays.npz"


def test_a_hostile_checkpoint_never_runs_and_is_one_clear_line(tmp_path: Path, promised: Promised) -> None:
    marker = tmp_path / "executed"
    model = make_local_dir(tmp_path / "model")
    (model / "open_clip_model.safetensors").unlink()
    tried = list(hostile_checkpoints(tmp_path, marker))
    for path in tried:
        if path.suffix in {".npy", ".npz"}:  # taken only where --weights names them
            weights, source = path, registry.resolve("ViT-B-32", path)
        else:
            weights, source = path.rename(model / path.name), registry.resolve(str(model))
        with pytest.raises(BadCheckpointError) as caught:
            load(source, Listeners())
        assert caught.value.message.startswith(str(weights))
        assert "\n" not in caught.value.message
        weights.rename(path)
    assert not marker.exists()
    # The files are as hostile as they are meant to be.
    pickle.loads((tmp_path / "1.bin").read_bytes())
    assert marker.exists()
    promised("A checkpoint never runs code", len(tried), "hostile checkpoints")


def hostile_config(folder: Path, changes: dict[str, dict[str, Any]]) -> str:
    """A model with other configuration; returns its name."""
    make_local_dir(folder)
    path = folder / registry.CONFIG_NAME
    config = json.loads(path.read_text())
    for part, values in changes.items():
        config["model_cfg"][part] |= values
    path.write_text(json.dumps(config))
    return f"{registry.DIR_PREFIX}{folder}"


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "/etc", "~/secret", "..", "a/../b", "a/b/c", "C:\\x", "", "a b", "a/b\n", 7],
)
def test_a_configuration_cannot_name_a_path_as_a_repository(tmp_path: Path, name: Any) -> None:
    with pytest.raises(UnknownModelError, match="not the name of a repository"):
        hub.fetch(name, ["config.json"], model="hf-hub:some/model")
    if name:  # else the text tower is OpenCLIP's own
        source = registry.resolve(hostile_config(tmp_path / "model", {"text_cfg": {"hf_model_name": name}}))
        with pytest.raises(UnknownModelError, match="not the name of a repository"):
            load(source, Listeners())


@pytest.mark.parametrize(
    "name", ["hf-hub:someone/evil", "local-dir:/etc", "hf_hub:someone/evil", "https://x/y"]
)
def test_an_image_tower_is_not_fetched_behind_our_back(tmp_path: Path, name: str) -> None:
    source = registry.resolve(hostile_config(tmp_path / "model", {"vision_cfg": {"timm_model_name": name}}))
    with pytest.raises(BadCheckpointError, match="not one of timm's own"):
        load(source, Listeners())


@pytest.mark.parametrize("kind", ["bert", "unheard-of"])
def test_code_beside_a_text_tower_is_never_run(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))  # to whoever asks
    folder = tmp_path / "model"
    name = hostile_config(folder, {"text_cfg": {"hf_model_name": "some/model"}})
    marker = tmp_path / "executed"
    (folder / "evil.py").write_text(
        textwrap.dedent(f"""
            import os
            os.mkdir({str(marker)!r})
            from transformers import BertConfig as Config, BertModel as Model
            Config.model_type = {kind!r}
        """)
    )
    tower = {
        "model_type": kind,
        "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    (folder / "config.json").write_text(json.dumps(tower))
    # The known kind is built, from transformers' own code: only then do the weights not fit it.
    with pytest.raises(
        BadCheckpointError, match="does not fit the architecture" if kind == "bert" else "cannot be built"
    ):
        load(registry.resolve(name), Listeners())
    assert not marker.exists()


# Ends the program at the first word it has for the network from Python, and, in a namespace whose network
# leads nowhere, when the kernel has met any, from whatever library.
GUARDED = """
import os, sys
def guard(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        os.write(2, f"network: {event} {arguments[1:]}".encode())
        os._exit(99)
if "audit" in os.environ["GUARD"]:
    sys.addaudithook(guard)
sys.argv[0] = "clipsearch"
if sys.argv[1] == "connect":
    import socket
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    except OSError:
        code = 0
else:
    from clipsearch.cli import main
    code = main()
if "namespace" in os.environ["GUARD"]:
    names, values = [line.split() for line in open("/proc/self/net/snmp") if line.startswith("Ip:")]
    counted = dict(zip(names, values))
    if counted["OutNoRoutes"] != "0" or counted["OutRequests"] != "0":
        os.write(2, f"network: met by the kernel: {counted}".encode())
        os._exit(99)
sys.exit(code)
"""
NAMESPACE = ["unshare", "--map-root-user", "--net"]


def guarded(guard: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run clipsearch as a process that may not speak to any network."""
    return subprocess.run(
        [*(NAMESPACE if "namespace" in guard else []), sys.executable, "-c", GUARDED, *arguments],
        env={**os.environ, "GUARD": guard},
        capture_output=True,
        text=True,
        check=False,
    )


def guards() -> list[str]:
    """What can watch here: always Python itself, and the kernel where it lends namespaces to users."""
    try:
        able = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        able = False
    return ["audit", "namespace"] if able else ["audit"]


def test_nothing_leaves_this_machine(
    tmp_path: Path, builtin_cache: Path, monkeypatch: pytest.MonkeyPatch, promised: Promised
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
    photos = paint(tmp_path / "photos", 12)
    before = {path: (path.stat(), path.read_bytes()) for path in photos.iterdir()}
    one = str(min(before))
    watch = "+".join(guards())
    for guard in guards():
        assert guarded(guard, "connect").returncode == 99  # each of them sees what it should
    commands = [
        ["index", str(photos), "--model", "builtin"],
        ["index"],
        ["search", "a red square"],
        ["search", "a red square", "--add", one, "--subtract", "0.5:blue"],
        ["similar", one],
        ["classify", "--labels", "red,blue"],
        ["classify", one, "--labels", "red,blue"],
        ["status"],
        ["models"],
        ["optimize"],
        ["forget", str(photos)],
    ]
    for command in commands:
        done = guarded(watch, *command)
        assert done.returncode == 0, (command, done.stderr)
    after = {path: (path.stat(), path.read_bytes()) for path in photos.iterdir()}
    assert {path: (state.st_mtime_ns, state.st_mode, data) for path, (state, data) in after.items()} == {
        path: (state.st_mtime_ns, state.st_mode, data) for path, (state, data) in before.items()
    }
    promised("Nothing leaves this machine", len(commands), "commands watched")


def test_every_test_that_the_page_names_is_there() -> None:
    page = Path(__file__).parents[1] / "docs" / "security.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    named = re.findall(r"`tests/(\w+\.py)(?:::(\w+))?`", page.read_text())
    assert len(named) > 20
    for file, test in named:
        source = (page.parents[1] / "tests" / file).read_text()
        assert not test or f"def {test}(" in source, f"{file}::{test}"


def paint(folder: Path, count: int) -> Path:
    """A folder of plain pictures, each of another colour."""
    folder.mkdir()
    for number in range(count):
        color = (20 * number, 255 - 20 * number, 7 * number % 256)
        Image.new("RGB", (64, 64), color).save(folder / f"{number}.png")
    return folder
