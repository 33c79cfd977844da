"""The second example: the real magika model, on real files of this repository."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import tree
from customhouse.core.plan import Action, ActionKind, HealthStatus
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "file-type"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"file_type_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def identify() -> ModuleType:
    return load("identify")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip or uv fetches it; skipped with the reason when neither can."""
    folder = tmp_path_factory.mktemp("wheel")
    needed = str(EXAMPLE / "requirements.txt")
    tried = []
    commands = [
        ["uv", "pip", "install", "-q", "--no-deps", "--require-hashes", "--target", str(folder), "-r", needed],
        ["python3", "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-r", needed, "-d", str(folder)],
    ]
    for command in commands:
        if shutil.which(command[0]) is None:
            tried.append(f"no {command[0]}")
            continue
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            tried.append(f"{command[0]} took more than 60 s")
            continue
        if done.returncode == 0:
            wheels = list(folder.glob("*.whl"))
            return wheels[0] if wheels else folder
        tried.append(f"{command[0]}: {done.stderr.strip()[-200:]}")
    pytest.skip("the magika wheel cannot be had: " + "; ".join(tried))


@pytest.fixture(scope="module")
def model(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "file-type"
    load("prepare").prepare(wheel, out)
    return out


def png(path: Path) -> Path:
    """A 64 × 64 picture with a gradient, as an encoder would write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + bytes((x * 4, y * 4, (x * y) % 256)[c] for x in range(64) for c in range(3)) for y in range(64)
    )
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    made = tmp_path_factory.mktemp("files")
    (made / "facts.json").write_text(
        json.dumps({"step": [{"name": f"n{i}", "ok": True, "s": i / 7} for i in range(40)]}, indent=2)
    )
    archive = made / "sources.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as handle:
        handle.write(ROOT / "LICENSE", "LICENSE")
    return {
        EXAMPLE / "identify.py": "python",
        ROOT / "src" / "customhouse" / "core" / "workload.py": "python",
        EXAMPLE / "README.md": "markdown",
        EXAMPLE / "file-type.yaml": "yaml",
        ROOT / "pyproject.toml": "toml",
        ROOT / "LICENSE": "txt",
        made / "facts.json": "json",
        archive: "zip",
        png(made / "picture.png"): "png",
    }


def test_the_model_names_the_content_type_of_real_files(identify, model, files):
    import numpy as np
    import onnxruntime

    config = identify.Config.load(model)
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=["CPUExecutionProvider"])
    rows = [identify.tokens(path, config) for path in files]
    scores = session.run(["target_label"], {"bytes": np.array(rows, dtype=np.int32)})[0]
    found = {path.name: identify.verdict(row.tolist(), config)[0] for path, row in zip(files, scores, strict=True)}
    assert found == {path.name: label for path, label in files.items()}


def test_the_declaration_pins_the_folder_that_prepare_writes(model):
    pinned = re.search(r"model-digest: (sha256:[0-9a-f]{64})", (EXAMPLE / "file-type.yaml").read_text())
    assert pinned is not None
    assert tree(model).digest == pinned[1]


def test_a_wheel_with_another_model_writes_nothing(tmp_path):
    prepare = load("prepare")
    other = tmp_path / "magika-1.0.3-py3-none-any.whl"
    with zipfile.ZipFile(other, "w") as handle:
        for name in prepare.FILES:
            handle.writestr(prepare.MODEL + name, b"not the model")
    with pytest.raises(SystemExit, match="nothing was written"):
        prepare.prepare(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_not_a_wheel_is_named(tmp_path):
    (tmp_path / "x.whl").write_bytes(b"no archive")
    with pytest.raises(SystemExit, match=r"x\.whl: cannot read"):
        load("prepare").prepare(tmp_path / "x.whl", tmp_path / "out")


def test_a_file_with_nothing_in_it_is_not_sent_to_the_model(identify, model, tmp_path):
    config = identify.Config.load(model)
    for name, data in {"empty": b"", "short": b"abc", "blank": b" " * 5000}.items():
        (tmp_path / name).write_bytes(data)
        assert identify.tokens(tmp_path / name, config) is None


def test_the_input_is_the_two_ends_of_a_file_padded_inwards(identify, model, tmp_path):
    config = identify.Config.load(model)
    (tmp_path / "f").write_bytes(b"\n  hello world\n")
    row = identify.tokens(tmp_path / "f", config)
    assert len(row) == config.first + config.last
    assert bytes(row[:11]) == b"hello world"
    assert row[13] == config.padding
    assert bytes(row[-11:]) == b"hello world"


def test_the_declared_service_answers_for_real_files(model, files, tmp_path):
    """The whole way: the manifest as it is written, the local target, HTTP, the client as a program of its own."""
    manifest = yaml.safe_load((EXAMPLE / "file-type.yaml").read_text())
    ref = ResourceRef.of(manifest)
    target = LocalTarget(LocalSettings(state=tmp_path / "state", volumes={"models": model.parent}), SystemClock())
    target.start()
    try:
        (applied,) = target.apply([Action(ActionKind.CREATE, ref, manifest)])
        assert applied.ok, applied.message
        end = time.monotonic() + 20
        while (health := target.read([ref])[ref].health).status is not HealthStatus.HEALTHY:
            assert time.monotonic() < end, health
            time.sleep(0.05)
        url = f"http://127.0.0.1:{target.port}/{ref.namespace}/{ref.name}"
        command = [sys.executable, str(EXAMPLE / "identify.py"), "--url", url, "--model", str(model), *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    finally:
        target.stop()
    assert done.returncode == 0, done.stderr
    said = dict(line.rpartition(" (")[0].split(": ") for line in done.stdout.splitlines())
    assert said == {str(path): label for path, label in files.items()}


def test_the_client_says_when_nobody_answers(identify):
    with pytest.raises(SystemExit, match="is the control plane up"):
        identify.infer("http://127.0.0.1:9/examples/file-type", identify.request([[0] * 2048]))
    with pytest.raises(SystemExit, match="not an http address"):
        identify.infer("file:///etc/passwd", identify.request([[0] * 2048]))
