"""Lock files as their programs write them: versions, hashes, what needs what, and where things come from."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from customhouse.core.errors import ArtifactError
from customhouse.trust.lockfiles import Shelf, read_lock

A, B = "a" * 64, "b" * 64
UV = f"""
version = 1
[[package]]
name = "my-project"
version = "0.1.0"
source = {{ editable = "." }}
dependencies = [{{ name = "Torch_Vision" }}]
[[package]]
name = "torch-vision"
version = "0.20.0"
source = {{ registry = "https://pypi.org/simple" }}
dependencies = [{{ name = "numpy", marker = "python_version > '3.9'" }}]
sdist = {{ url = "https://files.pythonhosted.org/t.tar.gz", hash = "sha256:{A}", size = 5 }}
wheels = [{{ url = "https://files.pythonhosted.org/t.whl", hash = "sha256:{B}" }}]
[[package]]
name = "inside"
version = "2"
source = {{ registry = "https://user:secret@index.example.com/simple" }}
[[package]]
name = "forked"
version = "3"
source = {{ git = "https://git.example.com/forked?rev=abc#{"c" * 40}" }}
"""
POETRY = f"""
[[package]]
name = "Requests"
version = "2.32.0"
files = [{{ file = "requests-2.32.0.whl", hash = "sha256:{A}" }}]
[package.dependencies]
urllib3 = ">=1.21"
[[package]]
name = "urllib3"
version = "2.0"
files = []
[metadata]
lock-version = "2.0"
"""
PYLOCK = f"""
lock-version = "1.0"
[[packages]]
name = "attrs"
version = "25.1.0"
index = "https://pypi.org/simple"
dependencies = [{{ name = "Zope.Interface" }}]
wheels = [{{ name = "attrs.whl", url = "https://files.pythonhosted.org/attrs.whl", hashes = {{ sha256 = "{A}" }} }}]
[[packages]]
name = "zope-interface"
version = "7"
"""
REQUIREMENTS = f"""
# comment
--index-url https://pypi.org/simple
--extra-index-url https://me:pw@index.example.com/simple
Typing_Extensions==4.12.2 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}   # via something
numpy[extra] == 2.2.0 ; python_version >= "3.9"
local==1.0+cpu
"""
NPM = {
    "lockfileVersion": 3,
    "packages": {
        "": {"name": "page"},
        "node_modules/a": {
            "version": "1.0.0",
            "resolved": "https://registry.npmjs.org/a/-/a-1.0.0.tgz",
            "integrity": "sha512-" + base64.b64encode(b"\1" * 64).decode(),
            "license": "MIT",
            "dependencies": {"b": "^1", "@scope/c": "*", "optional-that-is-not-there": "*"},
        },
        "node_modules/a/node_modules/b": {"version": "1.9.0"},
        "node_modules/b": {"version": "2.0.0", "resolved": "https://npm.example.com/b.tgz"},
        "node_modules/@scope/c": {"version": "3.0.0", "dependencies": {"b": "^2"}},
        "node_modules/linked": {"link": True, "resolved": "packages/linked"},
    },
}
CONDA = [
    {"name": "numpy", "version": "1.26", "build_string": "py311_0", "channel": "conda-forge", "platform": "linux-64"},
    {"name": "Rich", "version": "14", "channel": "pypi"},
]
EXPLICIT = f"@EXPLICIT\nhttps://conda.anaconda.org/conda-forge/linux-64/python-dateutil-2.9.0-py_0.conda#{A}\n"
INSPECT = {
    "version": "1",
    "pip_version": "24",
    "installed": [
        {
            "metadata": {
                "name": "Flask",
                "version": "3.1",
                "license_expression": "BSD-3-Clause",
                "requires_dist": ["Werkzeug>=3.1", "asgiref>=3.2; extra == 'async'"],
            }
        },
        {
            "metadata": {
                "name": "wheelhouse",
                "version": "1",
                "classifier": ["License :: OSI Approved :: MIT License"],
            },
            "direct_url": {"url": "file:///w/wheelhouse.whl", "archive_info": {"hashes": {"sha256": B}}},
        },
    ],
}
PIPFILE = {
    "_meta": {"sources": [{"url": "https://index.example.com/simple"}]},
    "default": {"click": {"version": "==8.1", "hashes": [f"sha256:{A}"]}},
    "develop": {"pytest": {"version": "==8.0"}},
}


def read(text: str | object, name: str) -> Shelf:
    return read_lock((text if isinstance(text, str) else json.dumps(text)).encode(), name)


def test_uv_names_libraries_with_their_archives_and_no_project_of_ones_own() -> None:
    shelf = read(UV, "uv.lock")
    vision, inside, forked = shelf.libraries
    assert (vision.purl, vision.requires) == ("pkg:pypi/torch-vision@0.20.0", ("numpy",))
    assert [file.digest for file in vision.files] == [f"sha256:{B}", f"sha256:{A}"]
    assert vision.note == ""
    assert inside.note == "https://index.example.com/simple", "without its password"
    assert forked.note.startswith("https://git.example.com/forked")
    assert shelf.indexes[0] == "https://index.example.com/simple"


def test_poetry_and_pylock() -> None:
    requests, urllib3 = read(POETRY, "poetry.lock").libraries
    assert (requests.name, requests.requires, requests.files[0].digest) == ("requests", ("urllib3",), f"sha256:{A}")
    assert urllib3.files == ()
    attrs, zope = read(PYLOCK, "pylock.toml").libraries
    assert (attrs.requires, attrs.files[0].url) == (("zope-interface",), "https://files.pythonhosted.org/attrs.whl")
    assert zope.version == "7"


def test_requirements_with_hashes_markers_and_other_indexes() -> None:
    shelf = read(REQUIREMENTS, "requirements.txt")
    assert [item.purl for item in shelf.libraries] == [
        "pkg:pypi/typing-extensions@4.12.2",
        "pkg:pypi/numpy@2.2.0",
        "pkg:pypi/local@1.0%2Bcpu",
    ]
    assert [file.digest for file in shelf.libraries[0].files] == [f"sha256:{A}", f"sha256:{B}"]
    assert shelf.indexes == ("https://index.example.com/simple",)


def test_npm_resolves_as_node_does_and_turns_integrity_into_hex() -> None:
    shelf = read(NPM, "package-lock.json")
    a, inner, b, c = shelf.libraries
    assert a.requires == ("pkg:npm/%40scope/c@3.0.0", "pkg:npm/b@1.9.0")
    assert c.requires == ("pkg:npm/b@2.0.0",)
    assert a.files[0].digest == "sha512:" + "01" * 64
    assert (inner.version, b.version, a.licence) == ("1.9.0", "2.0.0", "MIT")
    assert shelf.indexes == ("https://npm.example.com/b.tgz",)


def test_conda_pip_inspect_and_pipenv() -> None:
    numpy, rich = read(CONDA, "conda.json").libraries
    assert numpy.purl == "pkg:conda/numpy@1.26?build=py311_0&channel=conda-forge&subdir=linux-64"
    assert rich.purl == "pkg:pypi/rich@14"
    (dateutil,) = read(EXPLICIT, "explicit.txt").libraries
    assert dateutil.purl == "pkg:conda/python-dateutil@2.9.0?build=py_0&channel=conda-forge&subdir=linux-64"
    assert dateutil.files[0].digest == f"sha256:{A}"
    flask, wheel = read(INSPECT, "inspect.json").libraries
    assert (flask.licence, flask.requires) == ("BSD-3-Clause", ("werkzeug",))
    assert (wheel.licence, wheel.files[0].digest, wheel.note) == ("MIT", f"sha256:{B}", "file:///w/wheelhouse.whl")
    shelf = read(PIPFILE, "Pipfile.lock")
    assert [item.purl for item in shelf.libraries] == ["pkg:pypi/click@8.1", "pkg:pypi/pytest@8.0"]
    assert shelf.indexes == ("https://index.example.com/simple",)


@pytest.mark.parametrize(
    ("text", "name", "where", "why"),
    [
        ("numpy>=2\n", "requirements.txt", "requirements.txt:1", "pins no version"),
        ("\nnumpy==2\nscipy\n", "requirements.txt", "requirements.txt:3", "pins no version"),
        ("-r other.txt\n", "requirements.txt", "requirements.txt:1", "adds what is not listed"),
        ("git+https://example.com/x.git\n", "r.txt", "r.txt:1", "pins no version"),
        ("{}", "x.json", "x.json", "no kind of lock file"),
        ("{", "x.json", "x.json", "cannot be read"),
        ("[[package]]\n", "uv.lock", "uv.lock", "cannot be read"),
        ("=", "uv.lock", "uv.lock", "cannot be read"),
        ("@EXPLICIT\nhttps://e/x\n", "c.txt", "c.txt:2", "names no conda package"),
        ('{"lockfileVersion": 1}', "package-lock.json", "package-lock.json", "version 1"),
        ('{"lockfileVersion":3,"packages":{"x":7}}', "package-lock.json", "package-lock.json", "cannot be read"),
        ("[" * 100_000, "x.json", "x.json", "cannot be read"),
        ("[7]", "x.json", "x.json", "cannot be read"),
    ],
)
def test_half_a_list_is_refused_with_its_line(text: str, name: str, where: str, why: str) -> None:
    with pytest.raises(ArtifactError, match=why) as refused:
        read(text, name)
    assert refused.value.where == where


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_lock(b"\xff\xfe\x00", "requirements.txt")


def test_the_locks_of_this_project_agree_with_each_other(repository_root: Path) -> None:
    """The same packages and archives by uv's own file and by the list that pip reads."""
    lock = read_lock((repository_root / "uv.lock").read_bytes(), "uv.lock")
    listed = read_lock((repository_root / "requirements" / "dev.txt").read_bytes(), "requirements/dev.txt")
    known = {item.purl: {file.digest for file in item.files} for item in lock.libraries}
    for item in listed.libraries:
        assert {file.digest for file in item.files} == known[item.purl], item.purl
    assert len(listed.libraries) > 60


def test_a_hash_that_a_comment_cuts_off_is_not_lost_in_silence() -> None:
    """As pip reads it: the comment ends the line."""
    text = f"numpy==2.0 \\\n    # why\n    --hash=sha256:{A}\n"
    with pytest.raises(ArtifactError, match=r"--hash.* adds what is not listed"):
        read(text, "requirements.txt")
