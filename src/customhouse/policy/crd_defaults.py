"""Defaults of kinds without a projection of their own: what the API server adds to an object as people wrote it.

A projection leaves them out, so that the file in Git and the live object have the same one. Pods have defaults of their
own, in their projection. Extracted from the CRDs of KServe v0.16, KubeRay v1.3, JobSet v0.8, LeaderWorkerSet v0.6,
Kueue v0.14, Kubeflow Trainer v2.0, Argo Rollouts v1.9 and Karpenter v1.8 (`default:` of their schemas, outside pods);
held against the real API server by `tests/integration/test_policy_identity.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RAY: Mapping[str, Any] = {
    "/autoscalerOptions/env/*/valueFrom/configMapKeyRef/name": "",
    "/autoscalerOptions/env/*/valueFrom/secretKeyRef/name": "",
    "/autoscalerOptions/envFrom/*/configMapRef/name": "",
    "/autoscalerOptions/envFrom/*/secretRef/name": "",
    "/gcsFaultToleranceOptions/redisPassword/valueFrom/configMapKeyRef/name": "",
    "/gcsFaultToleranceOptions/redisPassword/valueFrom/secretKeyRef/name": "",
    "/gcsFaultToleranceOptions/redisUsername/valueFrom/configMapKeyRef/name": "",
    "/gcsFaultToleranceOptions/redisUsername/valueFrom/secretKeyRef/name": "",
    "/headGroupSpec/headService/spec/ports/*/protocol": "TCP",
    "/workerGroupSpecs/*/maxReplicas": 2147483647,
    "/workerGroupSpecs/*/minReplicas": 0,
    "/workerGroupSpecs/*/numOfHosts": 1,
    "/workerGroupSpecs/*/replicas": 0,
}
_LLM: Mapping[str, Any] = {
    "/spec/baseRefs/*/name": "",
    "/spec/router/route/http/refs/*/name": "",
    "/spec/router/route/http/spec/parentRefs/*/group": "gateway.networking.k8s.io",
    "/spec/router/route/http/spec/parentRefs/*/kind": "Gateway",
    "/spec/router/route/http/spec/rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}],
    "/spec/router/route/http/spec/rules/*/backendRefs/*/filters/*/requestMirror/backendRef/group": "",
    "/spec/router/route/http/spec/rules/*/backendRefs/*/filters/*/requestMirror/backendRef/kind": "Service",
    "/spec/router/route/http/spec/rules/*/backendRefs/*/filters/*/requestMirror/fraction/denominator": 100,
    "/spec/router/route/http/spec/rules/*/backendRefs/*/filters/*/requestRedirect/statusCode": 302,
    "/spec/router/route/http/spec/rules/*/backendRefs/*/group": "",
    "/spec/router/route/http/spec/rules/*/backendRefs/*/kind": "Service",
    "/spec/router/route/http/spec/rules/*/backendRefs/*/weight": 1,
    "/spec/router/route/http/spec/rules/*/filters/*/requestMirror/backendRef/group": "",
    "/spec/router/route/http/spec/rules/*/filters/*/requestMirror/backendRef/kind": "Service",
    "/spec/router/route/http/spec/rules/*/filters/*/requestMirror/fraction/denominator": 100,
    "/spec/router/route/http/spec/rules/*/filters/*/requestRedirect/statusCode": 302,
    "/spec/router/route/http/spec/rules/*/matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
    "/spec/router/route/http/spec/rules/*/matches/*/headers/*/type": "Exact",
    "/spec/router/route/http/spec/rules/*/matches/*/path": {"type": "PathPrefix", "value": "/"},
    "/spec/router/route/http/spec/rules/*/matches/*/path/type": "PathPrefix",
    "/spec/router/route/http/spec/rules/*/matches/*/path/value": "/",
    "/spec/router/route/http/spec/rules/*/matches/*/queryParams/*/type": "Exact",
    "/spec/router/route/http/spec/rules/*/sessionPersistence/cookieConfig/lifetimeType": "Session",
    "/spec/router/route/http/spec/rules/*/sessionPersistence/type": "Cookie",
    "/spec/router/scheduler/pool/ref/name": "",
    "/spec/router/scheduler/pool/spec/extensionRef/failureMode": "FailClose",
    "/spec/router/scheduler/pool/spec/extensionRef/group": "",
    "/spec/router/scheduler/pool/spec/extensionRef/kind": "Service",
}
_TRAINING_RUNTIME: Mapping[str, Any] = {
    "/spec/mlPolicy/mpi/mpiImplementation": "OpenMPI",
    "/spec/mlPolicy/mpi/numProcPerNode": 1,
    "/spec/mlPolicy/mpi/runLauncherAsNode": False,
    "/spec/mlPolicy/mpi/sshAuthMountPath": "/root/.ssh",
    "/spec/mlPolicy/torch/numProcPerNode": "auto",
    "/spec/podGroupPolicy/coscheduling/scheduleTimeoutSeconds": 60,
    "/spec/template/spec/failurePolicy/restartStrategy": "Recreate",
    "/spec/template/spec/replicatedJobs/*/replicas": 1,
}


_ADMISSION_POLICY: Mapping[str, Any] = {
    "/spec/failurePolicy": "Fail",
    "/spec/matchConstraints/matchPolicy": "Equivalent",
    "/spec/matchConstraints/namespaceSelector": {},
    "/spec/matchConstraints/objectSelector": {},
    "/spec/matchConstraints/resourceRules/*/scope": "*",
    "/spec/matchConstraints/excludeResourceRules/*/scope": "*",
}
_MATCH_RESOURCES: Mapping[str, Any] = {
    "/spec/matchResources/matchPolicy": "Equivalent",
    "/spec/matchResources/namespaceSelector": {},
    "/spec/matchResources/objectSelector": {},
    "/spec/matchResources/resourceRules/*/scope": "*",
    "/spec/matchResources/excludeResourceRules/*/scope": "*",
}


def _ray(root: str, own: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**{root + place: value for place, value in _RAY.items()}, **own}


DEFAULTS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    # Built-in kinds that have no projection of their own (kubernetes v1.36 pkg/apis/*/v1/defaults.go)
    ("storage.k8s.io", "StorageClass"): {"/reclaimPolicy": "Delete", "/volumeBindingMode": "Immediate"},
    ("storage.k8s.io", "CSIDriver"): {
        "/spec/attachRequired": True,
        "/spec/podInfoOnMount": False,
        "/spec/storageCapacity": False,
        "/spec/fsGroupPolicy": "ReadWriteOnceWithFSType",
        "/spec/requiresRepublish": False,
        "/spec/seLinuxMount": False,
        "/spec/volumeLifecycleModes": ["Persistent"],
    },
    ("discovery.k8s.io", "EndpointSlice"): {
        "/ports/*/protocol": "TCP",
        "/ports/*/name": "",
        "/endpoints/*/conditions": {},
    },
    ("scheduling.k8s.io", "PriorityClass"): {"/preemptionPolicy": "PreemptLowerPriority", "/globalDefault": False},
    ("apiregistration.k8s.io", "APIService"): {"/spec/service/port": 443},
    ("apiextensions.k8s.io", "CustomResourceDefinition"): {
        "/spec/conversion": {"strategy": "None"},
        "/spec/preserveUnknownFields": False,
    },
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): _ADMISSION_POLICY,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): _ADMISSION_POLICY,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): _MATCH_RESOURCES,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): _MATCH_RESOURCES,
    ("ray.io", "RayCluster"): _ray("/spec", {}),
    ("ray.io", "RayJob"): _ray(
        "/spec/rayClusterSpec",
        {
            "/spec/backoffLimit": 0,
            "/spec/submissionMode": "K8sJobMode",
            "/spec/ttlSecondsAfterFinished": 0,
        },
    ),
    ("ray.io", "RayService"): _ray(
        "/spec/rayClusterConfig",
        {
            "/spec/serveService/spec/ports/*/protocol": "TCP",
        },
    ),
    ("serving.kserve.io", "LLMInferenceService"): _LLM,
    ("serving.kserve.io", "LLMInferenceServiceConfig"): _LLM,
    ("trainer.kubeflow.org", "TrainingRuntime"): _TRAINING_RUNTIME,
    ("trainer.kubeflow.org", "ClusterTrainingRuntime"): _TRAINING_RUNTIME,
    ("argoproj.io", "AnalysisTemplate"): {
        "/spec/metrics/*/provider/datadog/apiVersion": "v1",
        "/spec/metrics/*/provider/datadog/interval": "5m",
    },
    ("argoproj.io", "ClusterAnalysisTemplate"): {
        "/spec/metrics/*/provider/datadog/apiVersion": "v1",
        "/spec/metrics/*/provider/datadog/interval": "5m",
    },
    ("jobset.x-k8s.io", "JobSet"): {
        "/spec/failurePolicy/restartStrategy": "Recreate",
        "/spec/replicatedJobs/*/replicas": 1,
    },
    ("karpenter.sh", "NodeClaim"): {
        "/spec/expireAfter": "720h",
    },
    ("kueue.x-k8s.io", "ClusterQueue"): {
        "/spec/fairSharing/weight": 1,
        "/spec/flavorFungibility": {},
        "/spec/flavorFungibility/whenCanBorrow": "Borrow",
        "/spec/flavorFungibility/whenCanPreempt": "TryNextFlavor",
        "/spec/preemption": {},
        "/spec/preemption/borrowWithinCohort": {},
        "/spec/preemption/borrowWithinCohort/policy": "Never",
        "/spec/preemption/reclaimWithinCohort": "Never",
        "/spec/preemption/withinClusterQueue": "Never",
        "/spec/queueingStrategy": "BestEffortFIFO",
        "/spec/stopPolicy": "None",
    },
    ("kueue.x-k8s.io", "Cohort"): {
        "/spec/fairSharing/weight": 1,
    },
    ("kueue.x-k8s.io", "LocalQueue"): {
        "/spec/fairSharing/weight": 1,
        "/spec/stopPolicy": "None",
    },
    ("kueue.x-k8s.io", "Workload"): {
        "/spec/active": True,
        "/spec/podSets/*/count": 1,
        "/spec/podSets/*/name": "main",
        "/spec/priorityClassSource": "",
    },
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): {
        "/spec/leaderWorkerTemplate/restartPolicy": "RecreateGroupOnPodRestart",
        "/spec/leaderWorkerTemplate/size": 1,
        "/spec/leaderWorkerTemplate/subGroupPolicy/subGroupPolicyType": "LeaderWorker",
        "/spec/replicas": 1,
        "/spec/rolloutStrategy/rollingUpdateConfiguration/maxSurge": 0,
        "/spec/rolloutStrategy/rollingUpdateConfiguration/maxUnavailable": 1,
        "/spec/rolloutStrategy/type": "RollingUpdate",
        "/spec/startupPolicy": "LeaderCreated",
    },
    ("serving.kserve.io", "ClusterStorageContainer"): {
        "/spec/container/env/*/valueFrom/configMapKeyRef/name": "",
        "/spec/container/env/*/valueFrom/secretKeyRef/name": "",
        "/spec/container/envFrom/*/configMapRef/name": "",
        "/spec/container/envFrom/*/secretRef/name": "",
        "/spec/container/livenessProbe/grpc/service": "",
        "/spec/container/ports/*/protocol": "TCP",
        "/spec/container/readinessProbe/grpc/service": "",
        "/spec/container/startupProbe/grpc/service": "",
        "/spec/supportsMultiModelDownload": False,
        "/spec/workloadType": "initContainer",
    },
    ("trainer.kubeflow.org", "TrainJob"): {
        "/spec/initializer/dataset/env/*/valueFrom/configMapKeyRef/name": "",
        "/spec/initializer/dataset/env/*/valueFrom/secretKeyRef/name": "",
        "/spec/initializer/dataset/secretRef/name": "",
        "/spec/initializer/model/env/*/valueFrom/configMapKeyRef/name": "",
        "/spec/initializer/model/env/*/valueFrom/secretKeyRef/name": "",
        "/spec/initializer/model/secretRef/name": "",
        "/spec/managedBy": "trainer.kubeflow.org/trainjob-controller",
        "/spec/runtimeRef/apiGroup": "trainer.kubeflow.org",
        "/spec/runtimeRef/kind": "ClusterTrainingRuntime",
        "/spec/suspend": False,
        "/spec/trainer/env/*/valueFrom/configMapKeyRef/name": "",
        "/spec/trainer/env/*/valueFrom/secretKeyRef/name": "",
    },
}
"""(group, kind) → pattern of a place (`*`: every item or key) → what the API server puts there when nothing is."""
