"""Applications of every shape that needs no network, in one repository: what Argo CD makes of them, and what we do."""

from __future__ import annotations

import json
from typing import Any

import yaml


def _config(name: str, text: str = "x") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}}


def _web(name: str) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "web", "image": "registry.example/web:1.0"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


_CHART = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-chart
  labels: {release: {{ .Release.Name }}, version: {{ .Chart.Version | quote }}}
data:
  tag: {{ .Values.image.tag | quote }}
  repository: {{ .Values.image.repository }}
  file: {{ .Values.file }}
  object: {{ .Values.object | quote }}
  namespace: {{ .Release.Namespace }}
  {{- if .Capabilities.APIVersions.Has "apps/v1" }}
  apps: "yes"
  {{- end }}
"""
_VALUES = "image: {repository: registry.example/chart, tag: '1.0'}\nfile: of the chart\nobject: none\n"
_OVERLAY = {
    "resources": ["../base"],
    "nameSuffix": "-eu",
    "labels": [{"pairs": {"region": "eu"}, "includeSelectors": True}],
    "configMapGenerator": [{"name": "made", "literals": ["a=b"]}],
    "patches": [{"target": {"kind": "Deployment"}, "patch": '[{"op": "add", "path": "/spec/paused", "value": true}]'}],
}
_JSONNET = """\
function(colour) [
  {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {name: 'jsonnet-' + n},
    data: {colour: colour, size: std.extVar('size')},
  }
  for n in ['a', 'b']
]
"""
_ALTERED = {
    "kustomize": {
        "namePrefix": "a-",
        "nameSuffix": None,
        "commonAnnotations": {"b": "c"},
        "images": ["registry.example/web:7"],
    },
    "repoURL": "https://elsewhere.example/",
}
FILES: dict[str, str] = {
    "plain/one.yaml": yaml.safe_dump(_config("plain-one")) + "---\n" + yaml.safe_dump(_web("plain-web")),
    "plain/more/two.json": json.dumps(_config("plain-two")),
    "plain/more/not.yaml": yaml.safe_dump(_config("plain-left-out")),
    "listed/list.yaml": yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [_config("in-a-list")]}),
    "jsonnet/all.jsonnet": _JSONNET,
    "base/kustomization.yaml": yaml.safe_dump({"resources": ["all.yaml"]}),
    "base/all.yaml": yaml.safe_dump(_config("base")) + "---\n" + yaml.safe_dump(_web("web")),
    "overlay/kustomization.yaml": yaml.safe_dump(_OVERLAY),
    "chart/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.2.3\n",
    "chart/values.yaml": _VALUES,
    "chart/values-eu.yaml": "file: of Europe\n",
    "chart/templates/all.yaml": _CHART,
    "values/shared.yaml": "file: shared\n",
    "altered/kustomization.yaml": yaml.safe_dump({"resources": ["../base"]}),
    "altered/.argocd-source.yaml": yaml.safe_dump(_ALTERED),
    "altered/.argocd-source-other.yaml": "kustomize: {namePrefix: not-this-}\n",
}
_HELM = {
    "releaseName": "shop",
    "valueFiles": ["values-eu.yaml"],
    "valuesObject": {"object": "of the object"},
    "parameters": [{"name": "image.tag", "value": "2", "forceString": True}],
}


def applications(url: str, argocd: str, namespace: str) -> list[dict[str, Any]]:
    """One of each shape, for the repository at an address."""

    def source(path: str, **more: Any) -> dict[str, Any]:
        return {"repoURL": url, "targetRevision": "main", "path": path, **more}

    recursing = {"recurse": True, "exclude": "more/not.yaml"}
    jsonnet = {"tlas": [{"name": "colour", "value": "red"}], "extVars": [{"name": "size", "value": "3", "code": False}]}
    kustomize = {
        "namePrefix": "prod-",
        "images": ["registry.example/web=registry.example/other:2.0"],
        "commonAnnotations": {"team": "shop"},
        "commonLabels": {"tier": "front"},
        "patches": [
            {
                "target": {"kind": "ConfigMap", "name": "base"},
                "patch": "- {op: replace, path: /data/text, value: other}",
            }
        ],
    }
    shared = {**_HELM, "releaseName": "several", "valueFiles": ["$here/values/shared.yaml"]}
    shapes: dict[str, dict[str, Any]] = {
        "plain": {"source": source("plain", directory=recursing)},
        "listed": {"source": source("listed")},
        "jsonnet": {"source": source("jsonnet", directory={"jsonnet": jsonnet})},
        "overlay": {"source": source("overlay", kustomize=kustomize)},
        "chart": {"source": source("chart", helm=_HELM)},
        "altered": {"source": source("altered", kustomize={"nameSuffix": "-gone", "namePrefix": "gone-"})},
        "several": {
            "sources": [
                source("chart", helm=shared),
                {"repoURL": url, "targetRevision": "main", "ref": "here"},
            ]
        },
    }
    return [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": name, "namespace": argocd},
            "spec": {
                "project": "default",
                **found,
                "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
                "syncPolicy": {"automated": {"prune": True}},
            },
        }
        for name, found in shapes.items()
    ]
