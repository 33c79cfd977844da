"""Models registered in real registries: whole with their evidence or not found at all, never over what is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gate_world import DECLARATION, KEY, MODEL, Shell, released, shell

from amazon_server import Amazon
from customhouse._kit import http
from customhouse._kit.digest import bytes_digest, tree
from customhouse.app import wiring, wiring_stores
from customhouse.app.model_places import exposure_of, told
from customhouse.app.model_pull import pull
from customhouse.app.model_register import KIND, RegisterRequest, register
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, CustomhouseError, TamperError, UsageError
from customhouse.trust.adapters.registries.layout import LayoutRegistry
from customhouse.trust.keys import generate
from mlflow_server import MlflowServer
from oci_registry import Registry
from s3_store import ObjectStore

__all__ = ["released", "shell"]

pytestmark = pytest.mark.timeout(600)
SAFETENSORS = b"\x08\0\0\0\0\0\0\0{}      "
FILES = {"config.json": b"{}", "weights/model.safetensors": SAFETENSORS, "empty.txt": b"", "a b+c.txt": b"odd name"}
PICKLE = b"cos\nsystem\n(S'true'\ntR."
KINDS = {"scan.sigstore.json", "bom.sigstore.json", "signature.sigstore.json"}


class World:
    """One registry of each kind: `target` is a fresh place in it."""

    def __init__(self, kind: str, environment: dict[str, str], place: Callable[[str], str], server: Any) -> None:
        self.kind, self.environment, self.target, self.server = kind, environment, place, server
        self.step: tuple[Any, str] = (os, "replace") if server is None else (http, "_once")
        """What is done many times on the way in: a request, or a file that gets its name."""

    def first(self, name: str) -> str:
        """What people call the first thing that was registered under a name."""
        if self.kind == "mlflow":
            return f"mlflow://{self.server.host}/{name}/1"
        return f"sagemaker://{name}/1" if self.kind == "sagemaker" else self.target(name)


@pytest.fixture(scope="module")
def oci(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("oci"))
    yield World("oci", {}, lambda name: f"oci://{running.host}/models/{name}:v1", running)
    running.stop()


@pytest.fixture(scope="module")
def s3(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = ObjectStore(find_part("versitygw"), tmp_path_factory.mktemp("s3"))
    running.bucket("models")
    yield World("s3", running.environment, lambda name: f"s3://models/{name}/v1", running)
    running.stop()


@pytest.fixture
def mlflow(mlflow_server: MlflowServer) -> World:
    return World("mlflow", {"MLFLOW_TRACKING_URI": mlflow_server.url}, lambda name: f"models:/{name}", mlflow_server)


@pytest.fixture(scope="module")
def sagemaker(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = Amazon(find_part("moto_server"), tmp_path_factory.mktemp("moto"))
    image = "registry.example/serve@sha256:" + "1" * 64
    yield World(
        "sagemaker",
        running.environment,
        lambda name: f"sagemaker://{name}?files=s3://models/sm/{name}&image={image}",
        running,
    )
    running.stop()


@pytest.fixture
def layout(tmp_path: Path) -> World:
    return World("oci-layout", {}, lambda name: f"oci-layout://{tmp_path}/layouts/{name}:v1", None)


@pytest.fixture(
    params=[
        "layout",
        pytest.param("oci", marks=pytest.mark.part("docker-registry")),
        pytest.param("s3", marks=pytest.mark.part("versitygw")),
        pytest.param("mlflow", marks=pytest.mark.part("mlflow")),
        pytest.param("sagemaker", marks=pytest.mark.part("moto_server")),
    ]
)
def world(request: pytest.FixtureRequest) -> World:
    return request.getfixturevalue(request.param)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    generate().save(tmp_path / "evidence.key")
    return tmp_path / "evidence.key"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


@pytest.fixture
def send(world: World, key: Path, model: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(name: str, **more: Any) -> dict[str, Any]:
        settings = Settings(tmp_path / more.pop("state", "state"), environment=world.environment)
        source = str(more.pop("source", model))
        return register(settings, RegisterRequest(source, world.target(name), str(key), **more))

    return run


def evidence_of(world: World, reference: str, digest: str, state: Path) -> dict[str, bytes]:
    settings = Settings(state, environment=world.environment)
    return dict(wiring_stores.MODEL_REGISTRIES[world.kind](settings).evidence(reference, digest))


def come_back(world: World, reference: str, place: Path) -> str:
    settings = Settings(place.with_name(place.name + "-state"), environment=world.environment)
    return pull(settings, reference, str(place), digest=None, lock=None).tree


def entries(state: Path) -> list[Any]:
    settings = Settings(state, environment={})
    with wiring.store(settings) as opened:
        return [item for _, item in wiring.ledger(settings, opened, write=False).entries() if item.kind == KIND]


def test_what_was_registered_comes_back_whole_and_a_second_time_nothing_is_sent(world, send, model, tmp_path):
    done = send("fraud", version="3")
    assert done["registered"]
    assert done["verdict"] == "clean"
    assert done["digest"] == tree(model).digest
    assert done["there"] == 0
    assert come_back(world, done["reference"], tmp_path / "out") == done["digest"]
    kept = evidence_of(world, done["reference"], done["digest"], tmp_path / "state")
    assert kept.keys() == KINDS
    again = send("fraud", version="3")
    assert (again["reference"], again["sent"]) == (done["reference"], 0)
    assert evidence_of(world, done["reference"], done["digest"], tmp_path / "state") == kept
    assert again["entry"] == done["entry"]
    (entered,) = entries(tmp_path / "state")
    assert entered.body["reference"] == done["reference"]
    assert entered.body["nodes"][0]["digest"] == done["digest"]
    # Another machine finds what is there, and says so in its own ledger.
    other = send("fraud", version="3", state="another machine")
    assert (other["reference"], other["sent"]) == (done["reference"], 0)


def test_nothing_of_what_is_not_clean_is_sent(world, send, model, tmp_path, monkeypatch):
    (model / "weights.pkl").write_bytes(PICKLE)
    monkeypatch.setattr(http, "_once", lambda *_: pytest.fail("a request"))
    monkeypatch.setattr(LayoutRegistry, "_begin", lambda *_: pytest.fail("a file"))
    done = send("wicked")
    assert not done["registered"]
    assert done["verdict"] == "malicious"
    assert done["findings"][0]["path"] == "weights.pkl"
    assert done["reference"] is done["entry"] is done["exposure"] is None
    assert not (tmp_path / "state" / "ledger").exists()


class Ended(BaseException):
    """The process ends here."""


def test_a_registration_that_ends_anywhere_is_found_by_nobody_and_is_finished(
    world, send, model, tmp_path, monkeypatch
):
    real, digest = getattr(*world.step), tree(model).digest
    left = [0]

    def counted(*arguments: Any) -> Any:
        if left[0] == 0:
            raise Ended
        left[0] -= 1
        return real(*arguments)

    total = 0
    while True:  # some requests further each time, on the leavings of the last
        left[0] = 4 + 3 * total
        monkeypatch.setattr(*world.step, counted)
        try:
            done = send("ended")
            break
        except Ended:
            monkeypatch.setattr(*world.step, real)
        found = whole_by_name(world, tmp_path / f"found{total}", digest)
        assert found in (None, digest)
        if found is not None and world.kind != "s3":
            # By the time that a name leads to it, its evidence is there.
            reference = world.first("ended") if world.kind != "mlflow" else f"mlflow://{world.server.host}/ended"
            assert evidence_of(world, reference, digest, tmp_path / "x").keys() >= KINDS
        total += 1
        assert total < 50
    monkeypatch.setattr(*world.step, real)
    assert total > 1
    assert come_back(world, done["reference"], tmp_path / "out") == digest
    assert evidence_of(world, done["reference"], digest, tmp_path / "x").keys() >= KINDS
    if world.kind == "mlflow":
        listed = world.server.call("GET", "mlflow/model-versions/search?filter=name%3D%27ended%27")["model_versions"]
        assert len(listed) == 1


def whole_by_name(world: World, place: Path, digest: str) -> str | None:
    """The digest of what the name leads to; None while it leads to nothing. Half a prefix of S3 has another digest."""
    name = world.first("ended")
    try:
        found = come_back(world, name, place)
    except ArtifactError:
        return None
    return None if world.kind == "s3" and found != digest else found


def test_what_is_there_is_never_written_over(world, send, model, tmp_path):
    first = send("taken")
    (model / "config.json").write_bytes(b'{"other": 1}')
    if world.kind in ("mlflow", "sagemaker"):
        second = send("taken")  # another version
        assert second["reference"] != first["reference"]
    else:
        with pytest.raises(TamperError):
            send("taken")
    assert come_back(world, first["reference"], tmp_path / "out") == first["digest"]


def test_what_changes_while_it_is_sent_gets_no_name(world, send, model, tmp_path, monkeypatch):
    """The evidence is of what was inspected; a file that somebody swaps then must not go under its digest."""
    real = wiring_stores.MODEL_REGISTRIES[world.kind]

    def late(settings: Settings) -> Any:
        made = real(settings)
        publish = made.publish

        def swapped(target: str, parcel: Any, settle: Any) -> Any:
            (model / "weights/model.safetensors").write_bytes(SAFETENSORS[:-1] + b"\n")
            return publish(target, parcel, settle)

        made.publish = swapped
        return made

    monkeypatch.setattr(wiring_stores, "MODEL_REGISTRIES", {world.kind: late})
    with pytest.raises(TamperError, match="changed while it was registered"):
        send("changing")
    monkeypatch.undo()
    name = world.first("changing")
    if world.kind == "s3":
        assert come_back(world, name, tmp_path / "out") != tree(model).digest
    else:
        with pytest.raises(ArtifactError):
            come_back(world, name, tmp_path / "out")


def test_evidence_that_says_more_comes_beside_and_renewed_evidence_too(world, send, model, tmp_path):
    done = send("more")
    card = tmp_path / "evaluation.json"
    card.write_text(json.dumps({"metrics": {"auc": 0.9}}))
    send("more", evaluation=str(card))
    kept = evidence_of(world, done["reference"], done["digest"], tmp_path / "state")
    assert "evaluation.sigstore.json" in kept
    assert kept.keys() >= KINDS
    before = len(set(kept.values()))
    assert send("more", evaluation=str(card), renew=True)["sent"] > 0
    settings = Settings(tmp_path / "state", environment=world.environment)
    listed = wiring_stores.MODEL_REGISTRIES[world.kind](settings).evidence(done["reference"], done["digest"])
    assert len({data for _, data in listed}) > before


def test_a_file_alone_becomes_a_folder_and_what_was_pulled_goes_on(world, send, model, tmp_path):
    (tmp_path / "alone.safetensors").write_bytes(SAFETENSORS)
    done = send("alone", source=tmp_path / "alone.safetensors")
    assert done["name"] == "alone.safetensors"
    moved = send("moved", source=done["reference"])
    assert moved["digest"] == done["digest"]
    assert moved["source"] == done["reference"]
    (entered,) = [item for item in entries(tmp_path / "state") if "moved" in item.body["reference"]]
    assert {link["kind"] for link in entered.body["links"]} == {"registered-in", "produced"}
    assert not list((tmp_path / "state" / "registering").iterdir())


def test_evidence_of_a_stranger_does_not_take_the_place_of_ours(world, send, model, tmp_path, key):
    done = send("stranger")
    stranger = tmp_path / "stranger.key"
    generate().save(stranger)
    key.rename(tmp_path / "ours.key")
    shutil.copy(stranger, key)
    again = send("stranger")
    assert again["sent"] == len(KINDS)
    settings = Settings(tmp_path / "state", environment=world.environment)
    listed = wiring_stores.MODEL_REGISTRIES[world.kind](settings).evidence(done["reference"], done["digest"])
    assert len({data for _, data in listed}) == 2 * len(KINDS)


@pytest.mark.part("docker-registry")
def test_where_nothing_is_registered_is_said(tmp_path, key, model, oci):
    settings = Settings(tmp_path / "state", environment={})
    for target, words in (
        ("https://x.example/m", "nowhere that a model is registered"),
        ("s3://bucket", "below a prefix"),
        (f"oci://{oci.server.host}/models/x", "under a tag"),
        ("models:/x", "of which server"),
        ("mlflow://h/a'b", "no model of MLflow"),
        ("oci-layout://", "no layout"),
        ("oci-layout://folder", "under a tag"),
        ("sagemaker://group", "not said"),
        ("sagemaker://group/3?files=s3://b/p&image=x", "not said"),
        ("sagemaker://group?files=s3://models&image=x", "below a prefix"),
    ):
        with pytest.raises((UsageError, CustomhouseError), match=words):
            register(settings, RegisterRequest(str(model), target, str(key)))


@pytest.mark.part("docker-registry")
def test_a_folder_with_the_key_or_the_state_in_it_is_not_sent(tmp_path, key, model, oci, monkeypatch):
    monkeypatch.setattr(http, "_once", lambda *_: pytest.fail("a request"))
    shutil.copy(key, model / "evidence.key")
    for state, by, words in ((tmp_path / "state", model / "evidence.key", "private key"), (model / "s", key, "state")):
        (model / "s").mkdir(exist_ok=True)
        request = RegisterRequest(str(model), oci.target("secrets"), str(by))
        with pytest.raises(UsageError, match=words):
            register(Settings(state, environment={}), request)


@pytest.mark.part("docker-registry")
def test_whether_a_stranger_may_push_is_tried_only_when_asked(find_part, tmp_path, oci):
    (tmp_path / "closed").mkdir()
    line = "tester:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n"
    closed = Registry(find_part("docker-registry"), tmp_path / "closed", line)
    settings = Settings(tmp_path / "state", environment={})
    try:
        for host, may in ((oci.server.host, True), (closed.host, False)):
            reference = f"oci://{host}/models/probe:1"
            untried = exposure_of(settings, reference)
            assert untried.public_write is None
            assert "not known" in told(untried)
            assert exposure_of(settings, reference, probe=True).public_write is may
    finally:
        closed.stop()
    assert exposure_of(settings, "/a/path") is None


def test_a_layout_is_judged_by_its_bytes_and_nothing_else_is_made_one(key, model, layout, tmp_path):
    settings = Settings(tmp_path / "state", environment={})
    done = register(settings, RegisterRequest(str(model), layout.target("m"), str(key)))
    folder = tmp_path / "layouts" / "m"
    weights = folder / "blobs" / "sha256" / bytes_digest(SAFETENSORS).removeprefix("sha256:")
    weights.write_bytes(SAFETENSORS[:-1] + b"\n")
    with pytest.raises(TamperError, match="not what its name says"):
        register(settings, RegisterRequest(str(model), layout.target("m").replace(":v1", ":v2"), str(key)))
    with pytest.raises(ArtifactError, match=r"is not sha256"):
        come_back(layout, done["reference"], tmp_path / "out")
    weights.unlink()
    weights.symlink_to(model / "weights/model.safetensors")
    with pytest.raises(ArtifactError, match="cannot be read"):
        come_back(layout, done["reference"], tmp_path / "out")
    with pytest.raises(ArtifactError, match="no tag v9"):
        come_back(layout, layout.target("m").replace(":v1", ":v9"), tmp_path / "out")
    for name, text in (("thesis", "years of work"), ("oci-layout", "{}")):
        place = tmp_path / f"mine {name}"
        place.mkdir()
        (place / name).write_text(text)
        (place / "index.json").write_text("[]" if name == "oci-layout" else "{}")
        with pytest.raises(CustomhouseError, match=r"no OCI layout|no JSON object"):
            register(settings, RegisterRequest(str(model), f"oci-layout://{place}:v1", str(key)))
        assert (place / name).read_text() == text
    folder.chmod(0o777)
    assert "WHOEVER REACHES IT MAY WRITE" in told(exposure_of(settings, layout.target("m")))


@pytest.mark.part("moto_server")
def test_a_version_in_sagemaker_waits_for_approval_and_is_known_by_its_files(key, model, sagemaker, tmp_path):
    settings = Settings(tmp_path / "state", environment=sagemaker.environment)
    done = register(settings, RegisterRequest(str(model), sagemaker.target("waits"), str(key)))
    with pytest.raises(ArtifactError, match="no approved version"):
        come_back(sagemaker, "sagemaker://waits", tmp_path / "none")
    (listed,) = sagemaker.server.ask("ListModelPackages", ModelPackageGroupName="waits")["ModelPackageSummaryList"]
    said = sagemaker.server.ask("DescribeModelPackage", ModelPackageName=listed["ModelPackageArn"])
    assert said["ModelApprovalStatus"] == "PendingManualApproval"
    assert said["CustomerMetadataProperties"]["customhouse.digest"] == done["digest"]
    # Another place for the files is another version, whatever the first one says of itself.
    other = sagemaker.target("waits").replace("sm/waits", "sm/elsewhere")
    assert register(settings, RegisterRequest(str(model), other, str(key)))["reference"].startswith(
        "sagemaker://waits/2@"
    )
    approved = {"ModelPackageArn": listed["ModelPackageArn"], "ModelApprovalStatus": "Approved"}
    sagemaker.server.ask("UpdateModelPackage", **approved)
    assert come_back(sagemaker, "sagemaker://waits", tmp_path / "out") == done["digest"]


@pytest.mark.part("versitygw")
def test_a_prefix_with_odd_letters_comes_back_with_its_evidence(key, model, s3, tmp_path):
    settings = Settings(tmp_path / "state", environment=s3.environment)
    done = register(settings, RegisterRequest(str(model), "s3://models/odd@name/v 1+2", str(key)))
    assert come_back(s3, done["reference"], tmp_path / "out") == done["digest"]
    assert evidence_of(s3, done["reference"], done["digest"], tmp_path / "x").keys() == KINDS


def test_registered_pulled_and_judged_by_the_gate(world: World, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    shutil.rmtree(shell.path(".evidence"))
    base = shell.commit("Nothing is known of the model")
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")
    shell.commit("Two of them")
    assert shell.run("gate", "--base", base, "-q").status == 1
    target = world.target("judged")
    said = shell.run("model", "register", MODEL, "--to", target, "--key", KEY, "--name", "first-model", "-o", "json")
    assert said.status == 0, said.err
    reference, digest = said.json["reference"], said.json["digest"]
    assert digest in shell.path(DECLARATION).read_text()
    said = shell.run("model", "pull", reference, "came", "--evidence", ".", "-o", "json")
    assert said.status == 0, said.err
    assert said.json["tree"] == digest
    assert {Path(name).name for name in said.json["evidence"]} == KINDS
    assert {"publicWrite", "versioned", "auditLog", "notes"} == said.json["exposure"].keys()
    shutil.rmtree(shell.path("came"))
    shell.commit("What was registered with it")
    judged = shell.run("gate", "--base", base, "-q")
    assert judged.status == 0, judged.out
