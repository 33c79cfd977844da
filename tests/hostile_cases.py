"""Generated Facts that no gate would make, for two engines to agree on: fields taken away, null, of another kind, huge.

Each begins with Facts of `decision_cases` and what else an app may know: a review, usage, an environment, budgets near
their end, checks and relaxations of the tier. A third of them stay as `build_facts` makes them.
"""

from __future__ import annotations

import copy
import random
from datetime import timedelta
from functools import lru_cache
from typing import Any

from customhouse.core.facts import Facts
from customhouse.policy.bundle import Bundle, builtin_bundle, load_bundle
from customhouse.policy.licences import choices
from customhouse.policy.waiver import Scope, Waiver
from decision_cases import case
from policy_cases import NOW

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, -3, 7, 2**31, 2**53 - 1, -(2**53) + 1, 1_000_000, 999_999, -1_234_567),
    *("", " ", "a", "error", "warning", "note", "muted", "active", "sha256:" + "1" * 64, "0", "007", "-1", "1e3", "٣"),
    *("ünïcode \U0001f600", "İSTANBUL ß Σ", 'a\n"b"\\', "\u200b\u202e", "%d %s %!", "{{x}}", "*", "../..", "x" * 3000),
    *([], {}, [[]], [None], ["a", 1, None], {"a": None}, [{}], {"name": "a"}, [0] * 40, {"": []}),
)
_TEXTS = tuple(item for item in HOSTILE if isinstance(item, str))
_NUMBERS = tuple(item for item in HOSTILE if isinstance(item, int) and not isinstance(item, bool))
OWN = {
    "policies/own.rego": b"""package customhouse.rules.own

import rego.v1

import data.customhouse.lib

# METADATA
# title: Own
# description: Own.
# custom: {id: own, category: security, severity: error, fix: Do.}
findings contains lib.error("security", "own", "/metadata/name", message, "Do.") if {
	not startswith(input.change.after.name, "sample-")
	message := sprintf("%s has %d characters (%v, %q).", [
		upper(input.change.after.name),
		count(input.change.after.name),
		input.cost.monthly_after_micro,
		lower(input.change.after.namespace),
	])
}

# METADATA
# title: Labelled
# description: Labelled.
# custom: {id: own-label, category: cost, severity: error, fix: Do., enforcement: warn}
findings contains lib.error("cost", "own-label", "/metadata/labels", message, "Do.") if {
	not input.change.after.labels["customhouse.dev/team"] in {"x", "risk"}
	not input.cost.monthly_after_micro < input.cost.monthly_before_micro
	message := sprintf("%d of %d.", [input.cost.monthly_after_micro, input.cost.monthly_replica_micro])
}

# METADATA
# title: Images
# description: Images.
# custom: {id: own-image, category: security, severity: warning, fix: Do., enforcement: dryrun}
findings contains lib.warning("security", "own-image", container.pointer, message, "Do.") if {
	some pod in lib.pods
	some container in pod.containers
	not regex.match(`^[a-z0-9./:@-]{1,80}$`, container.image.reference)
	not container.role in [role | some role in ["main", "init"]; not startswith(role, container.name)]
	message := sprintf("%s: %v", [replace(container.name, "a", "b"), substring(container.image.reference, 0, 9)])
}
""",
}


@lru_cache(maxsize=2)
def bundle_of(own: bool) -> Bundle:
    """The packaged rules, or these and rules of a project's own."""
    return load_bundle(OWN, base=builtin_bundle()) if own else builtin_bundle()


@lru_cache(maxsize=1)
def _rules() -> tuple[str, ...]:
    return tuple(doc.id for doc in bundle_of(own=True).rules)


def hostile(seed: int, *, typed: bool = True) -> tuple[Facts, tuple[Waiver, ...]]:
    """Facts, and waivers. `typed`: of such types alone as Facts have at each place; else of any, or taken away."""
    source = random.Random(seed)
    document = copy.deepcopy(dict(case(seed)[1].document))
    _known(source, document)
    if source.random() < 0.7:
        for _ in range(source.choice((1, 1, 2, 3, 8, 20))):
            _hurt(source, document, typed=typed)
    return Facts(document), _waivers(source)


def _known(source: random.Random, document: dict[str, Any]) -> None:
    """What an app may know beside the change, of the kinds that Facts have."""
    some = source.random
    if some() < 0.5:
        document["review"] = {
            "required": source.randrange(3),
            "pull_request": source.choice((None, 1, 4711)),
            "merged": some() < 0.5,
            "author": "ada",
            "approvals": source.sample(["bob", "cy", "dé"], source.randrange(4)),
            "objections": source.sample(["bob", "eve"], source.randrange(3)),
            "missing_owners": [f"f{n}.yaml (CODEOWNERS:{n}: @sec)" for n in range(source.choice((0, 0, 1, 7)))],
            "exempt": some() < 0.1,
        }
    if some() < 0.4:
        document["usage"] = {
            "window_days": source.choice((1, 7, 30)),
            **{key: source.choice((None, 0, 3, 50, 10**9)) for key in ("cpu_milli", "memory_bytes", "requests")},
            "accelerator_percent": source.choice((None, 0, 4, 99)),
        }
    if some() < 0.6:
        document["environment"] = {"name": "production", "production": some() < 0.7}
    if some() < 0.3:
        document["surroundings"] = None
    if some() < 0.3:
        document["derived"] = True
    if some() < 0.4:
        document["lifetime"] = {"ttl": "2026-03-01", "seconds_left": source.choice((None, -5, 0, 86400, 10**9))}
    document["prices"] |= {"age_days": source.choice((None, 0, 40)), "max_age_days": source.choice((None, 30))}
    for budget in document["budgets"]:
        budget |= {key: source.choice(_NUMBERS) for key in ("left_micro", "change_micro", "own_change_micro")}
        budget |= {key: source.choice(_NUMBERS) for key in ("most_change_micro", "own_rise_micro")}
        budget["spend_age_hours"] = source.choice((None, 1, 30))
    tier, rules = document["tier"], _rules()
    tier["checks"] = {rule: source.choice(("error", "warning", "note")) for rule in source.sample(rules, 6)}
    tier["relaxations"] = {
        rule: {
            "severity": source.choice(("warning", "note", "muted")),
            "owner": "ada",
            "reason": "r",
            "ticket": "T-1",
            "expires": "2026-03-01T00:00:00Z",
            "state": source.choice(("active", "it ended on 2026-01-01T00:00:00Z")),
        }
        for rule in source.sample(rules, source.randrange(5))
    }
    spec = tier["spec"]
    spec |= {
        "dedicated_nodes": source.choice((None, {"key": "pool", "value": "gpu"})),
        "monitoring": source.sample(["readiness", "liveness", "metrics", "tracing"], source.randrange(4)),
        "latency_target_ms": source.choice((None, 100)),
        "scale_to_zero": source.choice(("allowed", "forbidden")),
        "serverless": source.choice(("allowed", "forbidden")),
        "cold_start_seconds": source.choice((None, 0, 30)),
        "ttl_required": some() < 0.4,
        "max_ttl_days": source.choice((None, 14)),
        "queue_required": some() < 0.3,
        "evidence_max_age_days": source.choice((None, 0, 30)),
        "required_image_evidence": source.choice(([], ["scan", "signature"])),
        "per_million_tokens_micro": source.choice((None, 5)),
    }
    if some() < 0.3:
        _know_origins(source, document)
    if some() < 0.3:
        _know_storage(source, document)


def _know_origins(source: random.Random, document: dict[str, Any]) -> None:
    """Where models come from, and what is asked of that."""
    some, pick = source.random, source.choice
    licences = [
        {"text": text, "choices": read if read is None else [[list(term) for term in choice] for choice in read]}
        for text in ("MIT", "MIT OR GPL-3.0-only", "GPL-2.0+ AND Zlib", "X WITH Y-exception", "(", "ünïcode")
        for read in (choices(text),)
    ]

    def listed() -> dict[str, Any]:
        names = source.sample(["mit", "zlib", "gpl-3.0-only", "x with y-exception", "ß"], source.randrange(4))
        return {"names": names, "prefixes": source.sample(["gpl-", "m", ""], source.randrange(2))}

    document["origins"] = [
        {
            "reference": pick(("hf://acme/fraud@main", "pvc://m/ü", "s3://b/%d")),
            "pointer": pick(("/spec", "/spec/predictor/model/storageUri")),
            "bills": source.randrange(3),
            "licences": source.sample(licences, source.randrange(4)),
            "bases": [
                {"name": f"acme/b{number}", "pinned": some() < 0.5, "licences": source.sample(licences, number % 3)}
                for number in range(source.choice((0, 1, 4, 8)))
            ],
            "bases_left_out": pick((0, 0, 3)),
            "made_from_none": some() < 0.3,
            "places": [
                {
                    "name": "hf://acme/x",
                    "written": f"hf://Acme/{of}",
                    "of": of,
                    "pinned": pick((None, True, False)),
                    "refused": pick(("", "no")),
                }
                for of in source.sample(["", "acme/b0", "%s"], source.randrange(3))
            ],
        }
        for _ in range(source.randrange(1, 3))
    ]
    if some() < 0.8:
        document["settings"]["models"] = {
            "licences": {"limited": some() < 0.5, "allowed": listed(), "denied": listed()},
            "bases": {key: some() < 0.5 for key in ("required", "pinned", "licensed")},
        }


def _know_storage(source: random.Random, document: dict[str, Any]) -> None:
    """A data set with sensitive columns, and the volumes that it may be mounted from."""
    some, pick = source.random, source.choice
    document["artifacts"].append(
        {
            "role": "dataset",
            "reference": "sha256:" + "d" * 64,
            "digest": "sha256:" + "d" * 64,
            "pinned": True,
            "pointer": "/metadata/annotations/customhouse.dev~1dataset",
            "evidence": [
                {
                    "kind": "data-validation",
                    "predicate_type": "t",
                    "verified": some() < 0.8,
                    "signer": "data",
                    "issued_at": "2026-01-30T10:00:00Z",
                    "age_seconds": 86400,
                    "digest": "sha256:" + "e" * 64,
                    "problem": "",
                    "summary": {
                        "passed": pick((True, True, False, None)),
                        "rows": 3,
                        "schema": None,
                        "validator": "v",
                        "errors": [],
                        "sensitive": pick((None, [], [{"column": "mail", "kind": "pii", "sure": some() < 0.8}])),
                        "encrypted": pick((True, False, None)),
                        "access_controlled": pick((True, False, None)),
                    },
                }
            ],
        }
    )
    if document["surroundings"] is not None:
        document["surroundings"] = document["surroundings"] | {
            "storage": [
                {
                    "volume": pick(("data", "ü%s")),
                    "pointer": f"/spec/template/spec/volumes/{number}",
                    "kind": pick(("persistentVolumeClaim", "hostPath", "nfs")),
                    "claim": pick((None, "orders")),
                    "class": pick((None, "fast")),
                    "encrypted": pick((True, False, None)),
                    "reason": "the StorageClass fast does not say",
                    "provider_keys": some() < 0.3,
                    "access_controlled": pick((True, False, None)),
                    "open": pick((None, "ReadWriteMany")),
                    "others": source.sample(["Job a (team x)", "Pod b (team ß)"], source.randrange(3)),
                }
                for number in range(source.randrange(4))
            ]
        }


@lru_cache(maxsize=1)
def _shape() -> dict[tuple[str, ...], set[type]]:
    """Of which types the value at each place of Facts may be, as generated Facts show; lists have one place."""
    found: dict[tuple[str, ...], set[type]] = {}

    def look(value: Any, path: tuple[str, ...]) -> None:
        found.setdefault(path, set()).add(type(value))
        listed = [("*", item) for item in value] if isinstance(value, list) else []
        for key, item in value.items() if isinstance(value, dict) else listed:
            look(item, (*path, key))

    for seed in range(400):
        document = copy.deepcopy(dict(case(seed)[1].document))
        _known(random.Random(seed), document)
        look(document, ())
    return found


def _hurt(source: random.Random, document: dict[str, Any], *, typed: bool) -> None:
    """One hostile edit at a random place; what the gate itself reads of Facts stays what it is."""
    inner: Any = document
    path: list[Any] = []
    for _ in range(source.randrange(2, 12)):
        holder = inner
        path.append(source.choice(list(holder) if isinstance(holder, dict) else range(len(holder))))
        inner = holder[path[-1]]
        if not isinstance(inner, (dict, list)) or not inner or source.random() < 0.1:
            break
    key, old = path[-1], inner
    if path[:2] == ["change", "resource"] or key in ("schema", "as_of", "currency", "change", "cost"):
        return
    if isinstance(old, list) and source.random() < 0.5:
        holder[key] = old * 2 if source.random() < 0.5 else []
        return
    choices: tuple[Any, ...] = HOSTILE
    if typed:
        kinds = _shape().get(tuple("*" if isinstance(part, int) else part for part in path), {type(old)})
        choices = tuple(
            item for item in HOSTILE if type(item) in kinds and not (item and isinstance(item, (dict, list)))
        )
    elif source.random() < 0.3:
        del holder[key]
        return
    # An object without its fields is no object of that kind.
    if choices and not (typed and isinstance(old, dict) and old):
        holder[key] = copy.deepcopy(source.choice(choices))


def _waivers(source: random.Random) -> tuple[Waiver, ...]:
    return tuple(
        Waiver(
            id=f"W-{number}",
            rules=tuple(source.sample(_rules(), 4)),
            owner="ada",
            reason="r",
            ticket="T-1",
            expires=NOW + timedelta(days=source.choice((-1, 5, 400))),
            scope=Scope(kind=source.choice(("*", "Deployment", "InferenceService"))),
        )
        for number in range(source.randrange(3))
    )
