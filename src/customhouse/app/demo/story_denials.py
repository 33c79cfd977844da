"""What must not get in: too dear, malicious, unsigned, from elsewhere."""

from __future__ import annotations

import shutil

from customhouse.app.demo.story import Story
from customhouse.app.demo.story_release import attest, commit_release
from customhouse.app.demo.workspace import TRAINER

_EVIL = b"cposix\nsystem\n(S'touch /tmp/harmless-marker'\ntR."
"""A pickle that would run a harmless command if anybody loaded it. Nobody does."""


def deny_cost(story: Story) -> str:
    """Eight H100 for the fraud model."""
    ada = story.space.ada
    main = ada.pull("main")
    ada.git("checkout", "-q", "-B", "wish/h100", main)
    name = "models/fraud-detection/v2.1/inference-service.yaml"
    text = (ada.clone / name).read_text(encoding="utf-8")
    text = text.replace(
        "          memory: 2Gi\n      securityContext",
        '          memory: 2Gi\n          nvidia.com/gpu: "8"\n      securityContext',
    )
    text = text.replace(
        "  predictor:\n",
        "  predictor:\n    nodeSelector:\n      nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3\n",
        1,
    )
    ada.commit("Faster: eight H100", {name: text.encode()})
    ada.push("wish/h100")
    detail = story.gate_denies("wish/h100", "Budget", "H100")
    story.check("cheaper" in detail.lower(), f"no cheaper alternative is named: {detail}")
    return detail


def deny_pickle(story: Story) -> str:
    """A model folder that carries a pickle with a command in it."""
    copy_model(story, "v2.1-pickle", {"preprocess.pkl": _EVIL})
    attest(story, "v2.1", story.space.model("v2.1-pickle"), measured=False)
    commit_release(story, "v2.1-pickle", "v2.1")
    return story.gate_denies("release/v2.1-pickle", "scan")


def deny_unsigned(story: Story) -> str:
    """A model that nobody signed."""
    copy_model(story, "v2.1-unsigned", {"NOTES.md": b"A quick fix.\n"})
    attest(story, "v2.1", story.space.model("v2.1-unsigned"), signed=False)
    commit_release(story, "v2.1-unsigned", "v2.1")
    return story.gate_denies("release/v2.1-unsigned", "signature")


def copy_model(story: Story, name: str, extra: dict[str, bytes]) -> None:
    """A model folder like v2.1's with something added; the clone back at main."""
    ada = story.space.ada
    ada.git("checkout", "-q", "-f", "-B", "main", "origin/main")
    ada.git("clean", "-q", "-f", "-d", ".evidence")
    target = story.space.model(name)
    shutil.copytree(story.space.model("v2.1"), target)
    for file, data in extra.items():
        (target / file).write_bytes(data)


def deny_registry(story: Story) -> str:
    """A Job whose image comes from elsewhere: denied at the gate, and by the control plane when it is pushed."""
    ada = story.space.ada
    main = ada.pull("main")
    ada.git("checkout", "-q", "-B", "wish/registry", main)
    text = story.space.job("v2.1").decode().replace(TRAINER, "docker.io/someone/trainer")
    text = text.replace("name: train-fraud-detection-v2-1", "name: train-elsewhere")
    ada.commit("Use a public trainer image", {"jobs/elsewhere.yaml": text.encode()})
    ada.push("wish/registry")
    detail = story.gate_denies("wish/registry", "registry")
    bad = story.merge("wish/registry")
    story.until(lambda: story.live.overview().problem.startswith(bad[:12]) or None, "the control plane did not deny it")
    story.check(story.live.overview().deployed == main, "the last good state was not kept")
    ada.git("revert", "--no-edit", *(["-S"] if story.space.signs else []), bad)
    ada.push("main")
    head = ada.git("rev-parse", "HEAD").strip()
    story.until(lambda: story.live.overview().deployed == head or None, "the revert was not taken over")
    return f"{detail}; pushed past the gate: kept {main[:12]}"
