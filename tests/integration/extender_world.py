"""A cluster to schedule in: KWOK nodes of three clouds, a second real kube-scheduler, and our extender beside it.

Nodes carry a taint of their own, so that what other tests run keeps away from them.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customhouse.app.admission_mutation import apply, mutation
from customhouse.app.governance import Governance, governance
from customhouse.core.resource import Declaration, Location, ResourceRef
from kubernetes_plane import ControlPlane, KubernetesError

CONFIGURATION = """
apiVersion: customhouse.dev/v1
prices:
  provider: aws
  region: us-east-1
policy: {requireSignedCommits: false}
tiers:
  namespaces:
    "*": [batch, standard, critical-inference]
"""
HELD = "scheduling: {nodeAffinity: true}\n"
PATIENCE_S = 300
"""No machine is too slow for this."""
# Instance type, labels beside those of every node, accelerators: as the three clouds' own controllers label them.
_T4, _H100 = {"nvidia.com/gpu.product": "Tesla-T4"}, {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
ON_DEMAND_T4 = ("g4dn.xlarge", {"karpenter.sh/capacity-type": "on-demand", **_T4}, 1)
SPOT_T4 = ("g4dn.xlarge", {"karpenter.sh/capacity-type": "spot", **_T4}, 1)
SPOT_A10G = ("g5.12xlarge", {"eks.amazonaws.com/capacityType": "SPOT", "nvidia.com/gpu.product": "NVIDIA-A10G"}, 4)
ON_DEMAND_H100 = ("p5.48xlarge", {"karpenter.sh/capacity-type": "on-demand", **_H100}, 8)
SPOT_H100 = ("p5.48xlarge", {"kubernetes.azure.com/scalesetpriority": "spot", **_H100}, 8)
ON_DEMAND_CPU = ("m7i.2xlarge", {"eks.amazonaws.com/capacityType": "ON_DEMAND"}, 0)
SPOT_CPU = ("m7i.2xlarge", {"cloud.google.com/gke-spot": "true"}, 0)
SORTS = (ON_DEMAND_T4, SPOT_T4, SPOT_A10G, ON_DEMAND_H100, SPOT_H100, ON_DEMAND_CPU, SPOT_CPU)


@dataclass
class ExtenderWorld:
    """Processes of one test. `name` is the scheduler's name, and the taint of its nodes."""

    plane: ControlPlane
    folder: Path
    scheduler: Path
    name: str = field(default_factory=lambda: f"extended-{secrets.token_hex(3)}")
    nodes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    url: str = ""
    account: Path | None = None
    """A kubeconfig of the extender's own; an administrator's without."""
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def until(self, asked: Callable[[], Any]) -> Any:
        """The first true answer."""
        return self.plane.until(asked, PATIENCE_S)

    def add_nodes(
        self, sorts: Sequence[tuple[str, Mapping[str, str], int]], count: int, start: int = 0, step: int = 1
    ) -> None:
        """So many nodes, of the sorts in turn; every `step`th of them from `start`."""
        for number in range(start, count, step):
            machine, labels, devices = sorts[number % len(sorts)]
            self.add_node(f"{self.name}-{number:04d}", machine, labels, devices)

    def add_node(
        self, name: str, machine: str, labels: Mapping[str, str], devices: int, more: Mapping[str, str] | None = None
    ) -> None:
        """One node, ready at once; `more` are further amounts."""
        amounts = {"cpu": str(16 * (devices or 1)), "memory": f"{64 * (devices or 1)}Gi", "pods": "110"}
        if devices:
            amounts["nvidia.com/gpu"] = str(devices)
        amounts |= more or {}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {
                    "type": "kwok",
                    "world": self.name,
                    "kubernetes.io/hostname": name,
                    "node.kubernetes.io/instance-type": machine,
                    "topology.kubernetes.io/region": "us-east-1",
                    **labels,
                },
                "annotations": {"kwok.x-k8s.io/node": "fake"},
            },
            "spec": {
                "providerID": f"aws:///us-east-1a/{name}",
                "taints": [{"key": "world", "value": self.name, "effect": "NoSchedule"}],
            },
            "status": {
                "allocatable": amounts,
                "capacity": amounts,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }
        self.nodes[name] = self.plane.call("POST", "/api/v1/nodes", node)

    def ready(self) -> bool:
        """Whether the taint of a new node (`not-ready`) is off all of them."""
        found = self.plane.call("GET", "/api/v1/nodes")["items"]
        mine = [item for item in found if item["metadata"]["name"] in self.nodes]
        return all(len(item["spec"]["taints"]) == 1 for item in mine)

    def pod(
        self,
        namespace: str,
        name: str,
        tier: str,
        resources: Mapping[str, str],
        *,
        held: Governance | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        """Create a pod for this scheduler; with `held` as the webhook would have it under these rules."""
        # Other tests' nodes have no taint.
        spec["nodeSelector"] = {"world": self.name, **spec.get("nodeSelector", {})}
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"customhouse.dev/tier": tier}},
            "spec": {
                "schedulerName": self.name,
                "tolerations": [{"key": "world", "operator": "Equal", "value": self.name, "effect": "NoSchedule"}],
                "containers": [
                    {"name": "main", "image": "pause", "resources": {"requests": resources, "limits": resources}}
                ],
                **spec,
            },
        }
        if held is not None:
            ref = ResourceRef("v1", "Pod", namespace, name)
            manifest = dict(apply(manifest, mutation(Declaration(ref, manifest, Location("pod")), held)))
        created: dict[str, Any] = self.plane.call("POST", f"/api/v1/namespaces/{namespace}/pods", manifest)
        return created

    def where(self, namespace: str) -> dict[str, str]:
        """Pod → its node, empty while it has none."""
        found = self.plane.call("GET", f"/api/v1/namespaces/{namespace}/pods")
        return {item["metadata"]["name"]: item["spec"].get("nodeName", "") for item in found["items"]}

    def waiting(self, namespace: str) -> bool:
        """Whether a pod has no node."""
        query = "?fieldSelector=spec.nodeName%3D&limit=1"
        return bool(self.plane.call("GET", f"/api/v1/namespaces/{namespace}/pods{query}")["items"])

    def placed(self, namespace: str, seconds: float = PATIENCE_S) -> dict[str, str]:
        """The same, once every pod has a node."""
        self.plane.until(lambda: not self.waiting(namespace), seconds)
        return self.where(namespace)

    # processes
    def command(self, *arguments: str) -> list[str]:
        """`schedule serve` of this world."""
        (self.folder / "customhouse.yaml").write_text(CONFIGURATION)
        program = str(Path(sys.executable).with_name("customhouse"))
        command = [program, "schedule", "serve", "--state", str(self.folder / "state")]
        command += [
            "--config",
            str(self.folder / "customhouse.yaml"),
            "--kubeconfig",
            str(self.account or self.plane.kubeconfig),
        ]
        return [*command, *arguments]

    def start_extender(self, *more: str, log: str = "extender.log", ready: bool = True) -> subprocess.Popen[bytes]:
        """Start an extender and wait until it listens (`url`), and is ready."""
        path = self.folder / log
        with path.open("wb") as out:
            command = [*self.command("--port", "0"), *more]
            child = subprocess.Popen(command, stdout=out, stderr=out, cwd=self.folder)
        self._running.append(child)
        found = self.until(lambda: re.search(r"extender on (https://\S+);", self._alive(child, path)))
        self.url = found[1]
        if ready:
            self.until(lambda: self.get("/readyz")[0] == 200)
        return child

    def held(self) -> Governance:
        """The rules, with what the webhook puts on pods so that tiers hold without an extender."""
        place = self.folder / "held.yaml"
        place.write_text(CONFIGURATION + HELD)
        return governance(None, None, place)

    def _alive(self, child: subprocess.Popen[bytes], log: Path) -> str:
        text = log.read_text(errors="replace")
        if child.poll() is not None:
            raise RuntimeError(f"the extender ended with {child.returncode}: {text[-2000:]}")
        return text

    def configuration(self) -> dict[str, Any]:
        """What `--print-configuration` says, for the port that it has."""
        command = self.command("--print-configuration", "--url", self.url, "--scheduler-name", self.name)
        text = subprocess.run(command, capture_output=True, check=True, cwd=self.folder).stdout
        document: dict[str, Any] = json.loads(text)
        document["clientConnection"] = {"kubeconfig": str(self.plane.kubeconfig), "qps": 500, "burst": 1000}
        document["extenders"][0]["httpTimeout"] = (
            "60s"  # what is shown is what it answers, not how fast this machine is
        )
        return document

    def pools(self) -> str:
        """What `schedule pools -o yaml` prints, with the extender's own rights."""
        command = [*self.command("--after", "0", "-o", "yaml")]
        command[command.index("serve")] = "pools"
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=self.folder)
        return done.stdout

    def start_scheduler(self, *, extended: bool = True, others: Sequence[Mapping[str, Any]] = ()) -> None:
        """Start the second scheduler with the printed configuration, once the nodes may be used.

        `others`: further extenders, by what they have otherwise than ours.
        """
        self.until(self.ready)
        place = self.folder / "scheduler.json"
        document = self.configuration()
        (own,) = document["extenders"]
        document["extenders"] = [own, *({**own, **other} for other in others)] if extended else []
        place.write_text(json.dumps(document))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with (self.folder / "scheduler.log").open("wb") as log:
            command = [str(self.scheduler), f"--config={place}", f"--secure-port={port}", "-v=2"]
            self._running.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))

    def get(self, path: str) -> tuple[int, str]:
        """GET without a client certificate."""
        context = ssl.create_default_context(cafile=str(self.folder / "state" / "extender" / "ca.crt"))
        try:
            with urllib.request.urlopen(self.url + path, context=context, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ask(self, path: str, body: bytes, *, known: bool = True) -> tuple[int, bytes]:
        """POST as the scheduler does, or (not `known`) as somebody without its certificate."""
        folder = self.folder / "state" / "extender"
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        if known:
            context.load_cert_chain(folder / "client.crt", folder / "client.key")
        connection = http.client.HTTPSConnection(self.url.removeprefix("https://"), context=context, timeout=60)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def said(self, namespace: str, name: str) -> str:
        """What the scheduler says of a pod that it found no node for."""
        status = self.plane.call("GET", f"/api/v1/namespaces/{namespace}/pods/{name}").get("status", {})
        found = [item for item in status.get("conditions", ()) if item["type"] == "PodScheduled"]
        return str(found[0].get("message", "")) if found else ""

    def stop(self, *, nodes: bool = True) -> None:
        """End the processes, and take the nodes away."""
        for child in reversed(self._running):
            if child.poll() is None:
                child.kill()
            child.wait()
        for name in self.nodes if nodes else ():
            try:
                self.plane.call("DELETE", f"/api/v1/nodes/{name}")
            except KubernetesError as error:
                if error.status != 404:
                    raise
