"""`customhouse model register`: a model that scanned clean goes to a registry with its evidence, and into the ledger.

Evidence and signature are made before anything is sent, and the name by which people find it is made last. Run again,
it finishes what ended in the middle: evidence that is there, signed by the same key, and says the same is kept.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.app import wiring, wiring_stores
from customhouse.app.datasets import person
from customhouse.app.drafts import clear, draft
from customhouse.app.inspection import Inspected, ModelCard, inspect
from customhouse.app.model_pull import Pulled, pull, whole_reference
from customhouse.app.modelbom import Sources
from customhouse.app.models import read_datasets, read_evaluation
from customhouse.app.settings import Settings
from customhouse.core.errors import EvidenceError, UsageError
from customhouse.core.ledger import Entry
from customhouse.trust.attestation import SUFFIX
from customhouse.trust.bom_claims import with_claims
from customhouse.trust.bom_parts import Base
from customhouse.trust.bundle import ISSUED_AT, read_bundle
from customhouse.trust.custody import CLAIM, Link, LinkKind, Node, NodeKind, entry
from customhouse.trust.keys import PublicKey, load_private
from customhouse.trust.publishing import ModelRegistry, Parcel
from customhouse.trust.scan import Verdict, Wish
from customhouse.trust.unpack import placed

KIND = "model-registered"
MAX_FILES = 10_000
"""What registries list, and what is read from them (`trust.oci.MAX_DESCRIPTORS`)."""
_FOLDER = "registering"
_MAX_FINDINGS = 1000


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """What `model register` was asked: `source` is a path or a reference, `to` where it goes."""

    source: str
    to: str
    key: str
    name: str | None = None
    version: str = "0"
    evaluation: str | None = None
    datasets: tuple[str, ...] = ()
    lock: str | None = None
    actor: str | None = None
    renew: bool = False
    probe: bool = False
    sources: Sources = field(default_factory=Sources)


def register(settings: Settings, asked: RegisterRequest, wish: Wish | None = None) -> dict[str, Any]:
    """Inspect, and send what is clean; what is not clean is told, and nothing of it is sent.

    `{"registered","reference","name","version","digest","verdict","evidence","findings","sent","there","entry",
    "exposure","source","abandoned"}`; the last counts what killed registrations had left here, now removed.

    Raises UsageError, ArtifactError, TamperError, ConfigError.
    """
    target = whole_reference(settings, asked.to)
    registry = _registry(settings, target)
    key = load_private(Path(asked.key))
    abandoned = clear(settings.state / _FOLDER)
    with _staged(settings, asked) as (folder, origin):
        sources = asked.sources if origin is not None else replace(asked.sources, lock=asked.lock)
        card = _card(asked, sources, origin)
        done = inspect(folder, card, key, wiring.clock().now(), wish)
        sources.require_locked(done.digest)
        said = _said(card, done, origin) | {"abandoned": abandoned}
        if done.scan.verdict is not Verdict.CLEAN:
            return said
        _require_names(done, folder)
        made = {Path(name).name: data for name, data in done.files.items()}
        parcel = Parcel(card.name, card.version, done.digest, done.scan.verdict.value, folder, done.seen.files, made)
        published = registry.publish(
            target, parcel, lambda there: made if asked.renew else settled(made, there, key.public)
        )
    index = _enter(settings, parcel, published.reference, asked.actor, origin, card.given.base_models)
    exposure = registry.exposure(published.reference, probe=asked.probe)
    return said | {
        "registered": True,
        "reference": published.reference,
        "sent": published.sent,
        "there": published.there,
        "entry": index,
        "exposure": exposure.to_json(),
    }


def settled(ours: Mapping[str, bytes], theirs: Sequence[tuple[str, bytes]], key: PublicKey) -> dict[str, bytes]:
    """Our evidence, in place of which stands what is there already: signed by our key, and saying the same."""
    kept = dict(ours)
    for name, data in ours.items():
        wanted = _meaning(data, None)
        for _, other in theirs:
            if _meaning(other, key) == wanted:
                kept[name] = other
                break
    return kept


def _meaning(data: bytes, key: PublicKey | None) -> str | None:
    """What a bundle states, without the time at which it was stated; None for one that the key did not sign."""
    try:
        bundle = read_bundle(data)
        if key is not None and not bundle.signed_by(key):
            return None
        said = json.loads(bundle.payload)
    except (EvidenceError, ValueError, RecursionError):
        return None
    return json.dumps(_timeless(said), sort_keys=True)


def _timeless(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict) and depth < 4:
        return {k: _timeless(v, depth + 1) for k, v in value.items() if k not in (ISSUED_AT, "timestamp")}
    return [_timeless(item, depth + 1) for item in value] if isinstance(value, list) and depth < 4 else value


def _registry(settings: Settings, target: str) -> ModelRegistry:
    scheme = target.partition("://")[0]
    if scheme not in wiring_stores.MODEL_REGISTRIES:
        raise UsageError(
            f"{target[:200]!r} is nowhere that a model is registered",
            hint="oci://HOST/REPOSITORY:TAG, oci-layout://FOLDER:TAG, s3://BUCKET/PREFIX, models:/NAME or sagemaker://GROUP?…",
        )
    return wiring_stores.MODEL_REGISTRIES[scheme](settings)


@contextmanager
def _staged(settings: Settings, asked: RegisterRequest) -> Iterator[tuple[Path, Pulled | None]]:
    """The folder to register, and where it was pulled from. A file becomes a folder with that one file in it."""
    source = asked.source
    remote = "://" in source or source.startswith("models:/")
    place = Path(source)
    if not remote and place.is_dir():
        _require_apart(place, Path(asked.key), "the private key")
        _require_apart(place, settings.state, "the state with its keys")
        yield place, None
        return
    if not remote and not place.is_file():
        raise UsageError(f"there is nothing at {source}")
    with draft(settings.state / _FOLDER) as own:
        folder = own / "model"
        if remote:
            yield folder, pull(settings, source, str(folder), digest=None, lock=asked.lock)
            return
        folder.mkdir()
        try:
            os.link(place, folder / place.name)
        except OSError:  # another disk
            shutil.copyfile(place, folder / place.name)
        yield folder, None


def _require_apart(folder: Path, other: Path, what: str) -> None:
    """Raises UsageError when the folder to be sent holds what nobody else may have."""
    if other.exists() and other.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{what} lies in the folder that would be sent: {other}", hint="name the model's own folder")


def _card(asked: RegisterRequest, sources: Sources, origin: Pulled | None) -> ModelCard:
    name = asked.name or _named(asked)
    shelf, _ = sources.shelf()
    given = sources.given()
    return ModelCard(
        name=name,
        version=asked.version,
        datasets=read_datasets(asked.datasets),
        evaluation=read_evaluation(asked.evaluation) if asked.evaluation else None,
        given=given if origin is None else with_claims(given, origin.reference, origin.claims),
        shelf=shelf,
        images=sources.bills(),
    )


def _named(asked: RegisterRequest) -> str:
    """The folder's or file's name; of a reference the part that names the model."""
    if "://" in asked.source or asked.source.startswith("models:/"):
        plain = asked.source.partition("@")[0].rstrip("/")
        last = plain.rpartition("/")[2].partition(":")[0]
        return last if not last.isdigit() else plain.rpartition("/")[0].rpartition("/")[2]
    return Path(asked.source).resolve().name


def _said(card: ModelCard, done: Inspected, origin: Pulled | None) -> dict[str, Any]:
    findings = [
        {"path": file.path, "verdict": file.verdict.value, "rule": found.rule, "message": found.message}
        for file in done.scan.files
        if file.verdict is not Verdict.CLEAN
        for found in file.findings
    ]
    return {
        "registered": False,
        "reference": None,
        "name": card.name,
        "version": card.version,
        "digest": done.digest,
        "verdict": done.scan.verdict.value,
        "evidence": [kind.value for kind in done.kinds],
        "findings": findings[:_MAX_FINDINGS],
        "sent": 0,
        "there": 0,
        "entry": None,
        "exposure": None,
        "source": None if origin is None else origin.reference,
    }


def _require_names(done: Inspected, folder: Path) -> None:
    """What is registered must come back: names that `model pull` refuses are not sent."""
    if len(done.seen.files) > MAX_FILES:
        raise UsageError(f"{len(done.seen.files)} files; {MAX_FILES} are the most that a registry is given")
    for file in done.seen.files:
        placed(file.path, folder, file.path)


def _enter(
    settings: Settings,
    parcel: Parcel,
    reference: str,
    actor: str | None,
    origin: Pulled | None,
    bases: Sequence[Base],
) -> int:
    """The ledger's entry: which model lies where, whatever registry it is. Once, however often it is asked for."""
    model = Node.of(NodeKind.MODEL, parcel.digest, parcel.name, f"{parcel.name}@{parcel.version}")
    place = Node("registration", reference[:500])
    nodes, links = [model, place], [Link.between(model, place, "registered-in")]
    if origin is not None:
        source = Node("source", origin.reference[:500])
        nodes.append(source)
        links.append(Link.between(source, model, "produced"))
    body = {
        "text": f"model {parcel.name} {parcel.version}, {len(parcel.files)} files, registered in {reference}"[:1000],
        "version": parcel.version,
        "reference": reference,
        "verdict": parcel.verdict,
        "files": len(parcel.files),
        "evidence": sorted(name.removesuffix(SUFFIX) for name in parcel.evidence),
    }
    made = entry(
        KIND,
        f"{KIND}:{reference}:{parcel.digest}",
        wiring.clock().now(),
        actor or person(settings),
        nodes=nodes,
        links=links,
        body=body,
    )
    told = [made, *_claimed(parcel, bases, made.actor)]
    with wiring.store(settings) as opened:
        receipts = wiring.ledger(settings, opened, write=True).append(told)
    return receipts[0].index


def _claimed(parcel: Parcel, bases: Sequence[Base], actor: str) -> list[Entry]:
    """What it was made from, as people or a hub say: an entry of claims, on which no proof rests."""
    if not bases:
        return []
    model = Node.of(NodeKind.MODEL, parcel.digest)
    nodes = [
        Node.of(NodeKind.MODEL, base.digest, base.name) if base.digest else Node(NodeKind.MODEL, base.name)
        for base in bases
    ]
    links = [Link.between(node, model, LinkKind.BASE_OF) for node in nodes]
    names = ", ".join(base.name for base in bases)
    body = {"text": f"model {parcel.name} is said to be made from {names}"[:1000]}
    key = f"{CLAIM}:bases:{parcel.digest}:{bytes_digest(names.encode())}"
    return [entry(CLAIM, key, wiring.clock().now(), actor, nodes=[model, *nodes], links=links, body=body)]
