"""`customhouse model convert` as a person types it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from customhouse.cli.model_convert import convert


def test_weights_are_written_beside_the_file_and_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", w=np.ones((2, 3), "f4"))
    done = CliRunner().invoke(convert, [str(tmp_path / "m.npz"), "-o", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tensors"] == {"w": {"dtype": "F32", "shape": [2, 3]}}
    assert (tmp_path / "m.safetensors").is_file()


def test_what_runs_code_is_refused_with_place_and_reason(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"f": print}))
    (tmp_path / "n.pkl").write_bytes(b"cos\nsystem\n(X\x04\x00\x00\x00truetR.")
    for name, why in (("m.pkl", "builtins.print"), ("n.pkl", "is malicious")):
        done = CliRunner().invoke(convert, [str(tmp_path / name)], standalone_mode=True)
        assert done.exit_code != 0
        assert why in str(done.exception)
        assert name in str(done.exception)
    assert not list(tmp_path.glob("*.safetensors"))


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.npy").write_bytes(b"x")
    done = CliRunner().invoke(convert, [str(tmp_path / "m.npy"), "--to", "onnx"])
    assert "safetensors is" in str(done.exception)
