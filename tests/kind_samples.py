"""One object of every kind of the table, against the real schemas; the same samples for prices and for identity.

What each is expected to run stands beside it: `(name, least, most, accelerators)` of every set of pods.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

POD = """
containers:
- name: main
  image: apexlogic.com/main:1.0
  resources:
    requests: {cpu: 1000m, memory: 1024Mi}
    limits: {memory: 1Gi}
"""
GPU_POD = """
nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}
containers:
- name: main
  image: apexlogic.com/train:1.0
  resources:
    requests: {cpu: "4", memory: 16Gi}
    limits: {nvidia.com/gpu: 2}
  ports: [{containerPort: 8080}]
"""


@dataclass(frozen=True)
class Sample:
    """`crds` names the project whose CRDs serve the kind; empty for built-in kinds, None where none is public here."""

    api_version: str
    kind: str
    spec: str
    runs: tuple[tuple[str, int, int, int], ...] = ()
    crds: str | None = ""
    annotations: dict[str, str] = field(default_factory=dict)
    namespaced: bool = True
    plural: str = ""
    root: bool = False
    """The text is the whole object's body, not its spec."""

    def manifest(self, namespace: str = "models") -> dict[str, Any]:
        text = self.spec
        for name, pod in (("GPU_POD", GPU_POD), ("POD", POD)):
            while f"<{name}>" in text:
                line = next(one for one in text.splitlines() if f"<{name}>" in one)
                indent = " " * (len(line) - len(line.lstrip()) + (2 if not line.strip().startswith("<") else 0))
                body = "\n".join(indent + one for one in pod.strip().splitlines())
                text = text.replace(line, line.replace(f"<{name}>", "").rstrip() + "\n" + body, 1)
        body = yaml.safe_load(text)
        metadata: dict[str, Any] = {"name": f"sample-{self.kind.lower()}"}
        if self.namespaced:
            metadata["namespace"] = namespace
        if self.annotations:
            metadata["annotations"] = dict(self.annotations)
        rest = body if self.root else {"spec": body}
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, **rest}

    def __str__(self) -> str:
        return self.kind


SELECTED = """
selector: {matchLabels: {app: x}}
template:
  metadata: {labels: {app: x}}
  spec: <POD>
"""
RAY = """
  enableInTreeAutoscaling: true
  rayVersion: 2.40.0
  headGroupSpec:
    rayStartParams: {}
    template:
      spec: <POD>
  workerGroupSpecs:
  - groupName: gpus
    minReplicas: 1
    maxReplicas: 3
    replicas: 1
    numOfHosts: 2
    rayStartParams: {}
    template:
      spec: <GPU_POD>
"""
STEPS = """
  entrypoint: all
  templates:
  - name: all
    dag:
      tasks: [{name: a, template: train}]
  - name: train
    nodeSelector: {nvidia.com/gpu.product: NVIDIA-L4}
    container:
      image: apexlogic.com/train:1.0
      resources: {requests: {cpu: 1, memory: 1Gi}, limits: {nvidia.com/gpu: 1}}
  - name: report
    script:
      image: apexlogic.com/report:1.0
      source: print()
      resources: {requests: {cpu: 1, memory: 1Gi}}
"""
STEP_RUNS = (("train", 1, 1, 1), ("report", 1, 1, 0))
TRAINING = """
runPolicy: {activeDeadlineSeconds: 7200, backoffLimit: 3}
ROLE:
  Master:
    replicas: 1
    restartPolicy: OnFailure
    template:
      spec: <POD>
  Worker:
    replicas: 4
    template:
      spec: <GPU_POD>
"""
TRAINING_RUNS = (("replica Master", 1, 1, 0), ("replica Worker", 4, 4, 2))

SAMPLES: tuple[Sample, ...] = (
    Sample("v1", "Pod", POD, (("pod", 1, 1, 0),), plural="pods"),
    Sample("apps/v1", "Deployment", "replicas: 3" + SELECTED, (("pod", 3, 3, 0),), plural="deployments"),
    Sample("apps/v1", "ReplicaSet", SELECTED, (("pod", 1, 1, 0),), plural="replicasets"),
    Sample("apps/v1", "DaemonSet", SELECTED, (("pod", 1, 1, 0),), plural="daemonsets"),
    Sample(
        "apps/v1",
        "StatefulSet",
        "serviceName: x\nreplicas: 2"
        + SELECTED
        + "volumeClaimTemplates:\n- metadata: {name: d}\n  spec: {accessModes: [ReadWriteOnce], "
        "storageClassName: premium-rwo, resources: {requests: {storage: 10Gi}}}\n",
        (("pod", 2, 2, 0),),
        plural="statefulsets",
    ),
    Sample(
        "v1",
        "ReplicationController",
        "replicas: 2\nselector: {app: x}\ntemplate:\n  metadata: {labels: {app: x}}\n  spec: <POD>",
        (("pod", 2, 2, 0),),
        plural="replicationcontrollers",
    ),
    Sample(
        "v1",
        "PodTemplate",
        "template:\n  metadata: {labels: {app: x}}\n  spec: <POD>",
        (("pod", 1, 1, 0),),
        plural="podtemplates",
        root=True,
    ),
    Sample(
        "batch/v1",
        "Job",
        "parallelism: 4\ncompletions: 8\ntemplate:\n  spec:\n    restartPolicy: Never\n    <GPU_POD>",
        (("pod", 4, 4, 2),),
        plural="jobs",
    ),
    Sample(
        "batch/v1",
        "CronJob",
        "schedule: '@daily'\njobTemplate:\n  spec:\n    template:\n      spec:\n"
        "        restartPolicy: Never\n        <POD>",
        (("pod", 1, 1, 0),),
        plural="cronjobs",
    ),
    Sample(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        """
predictor:
  minReplicas: 1
  maxReplicas: 4
  model:
    modelFormat: {name: sklearn, version: "1.5"}
    storageUri: s3://models/fraud
    resources: {requests: {cpu: 500m, memory: 512Mi}}
transformer:
  minReplicas: 2
  maxReplicas: 6
  <POD>
""",
        (("predictor", 1, 4, 0), ("transformer", 2, 6, 0)),
        crds="kserve",
        plural="inferenceservices",
    ),
    Sample(
        "serving.kserve.io/v1alpha1",
        "LLMInferenceService",
        """
model: {uri: "hf://meta-llama/Llama-3.1-70B", name: llama}
replicas: 2
parallelism: {pipeline: 4, tensor: 2}
template: <GPU_POD>
worker: <GPU_POD>
prefill:
  replicas: 3
  template: <GPU_POD>
router: {scheduler: {}}
""",
        (("decode", 2, 2, 2), ("decode-worker", 6, 6, 2), ("prefill", 3, 3, 2)),
        crds=None,
        plural="llminferenceservices",
    ),
    Sample(
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
        "supportedModelFormats: [{name: sklearn, version: '1', autoSelect: true}]\n" + POD,
        (("runtime", 1, 1, 0),),
        crds="kserve",
        plural="servingruntimes",
    ),
    Sample(
        "serving.kserve.io/v1alpha1",
        "ClusterServingRuntime",
        "supportedModelFormats: [{name: sklearn, version: '1', autoSelect: true}]\n" + POD,
        (("runtime", 1, 1, 0),),
        crds="kserve",
        plural="clusterservingruntimes",
        namespaced=False,
    ),
    Sample(
        "serving.kserve.io/v1alpha1",
        "InferenceGraph",
        """
nodes:
  root:
    routerType: Sequence
    steps: [{serviceName: one, name: a}, {serviceUrl: "http://two.models.svc", name: b}]
minReplicas: 1
maxReplicas: 2
resources: {requests: {cpu: 100m, memory: 100Mi}}
""",
        (("router", 1, 2, 0),),
        crds="kserve",
        plural="inferencegraphs",
    ),
    Sample(
        "machinelearning.seldon.io/v1",
        "SeldonDeployment",
        """
predictors:
- name: default
  replicas: 2
  graph: {name: m, implementation: SKLEARN_SERVER, modelUri: "gs://models/iris"}
  componentSpecs:
  - replicas: 3
    spec: <POD>
""",
        (("predictor", 3, 3, 0),),
        crds=None,
    ),
    Sample(
        "mlops.seldon.io/v1alpha1",
        "Server",
        "replicas: 2\nserverConfig: mlserver\npodSpec: <POD>",
        (("server", 2, 2, 0),),
        crds=None,
    ),
    Sample("mlops.seldon.io/v1alpha1", "Model", "storageUri: gs://models/iris\nrequirements: [sklearn]", crds=None),
    Sample(
        "kubeflow.org/v1",
        "PyTorchJob",
        TRAINING.replace("ROLE", "pytorchReplicaSpecs"),
        TRAINING_RUNS,
        crds=None,
    ),
    Sample("kubeflow.org/v1", "TFJob", TRAINING.replace("ROLE", "tfReplicaSpecs"), TRAINING_RUNS, crds=None),
    Sample("kubeflow.org/v2beta1", "MPIJob", TRAINING.replace("ROLE", "mpiReplicaSpecs"), TRAINING_RUNS, crds=None),
    Sample("kubeflow.org/v1", "XGBoostJob", TRAINING.replace("ROLE", "xgbReplicaSpecs"), TRAINING_RUNS, crds=None),
    Sample("kubeflow.org/v1", "PaddleJob", TRAINING.replace("ROLE", "paddleReplicaSpecs"), TRAINING_RUNS, crds=None),
    Sample("kubeflow.org/v1", "JAXJob", TRAINING.replace("ROLE", "jaxReplicaSpecs"), TRAINING_RUNS, crds=None),
    Sample(
        "trainer.kubeflow.org/v1alpha1",
        "TrainJob",
        """
runtimeRef: {name: torch-distributed}
podSpecOverrides:
- targetJobs: [{name: node}]
  nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}
initializer: {model: {storageUri: "hf://x/y"}, dataset: {storageUri: "hf://d/e"}}
trainer:
  image: apexlogic.com/train:1.0
  numNodes: 4
  resourcesPerNode: {requests: {cpu: 4, memory: 8Gi}, limits: {nvidia.com/gpu: 8}}
""",
        (("trainer", 4, 4, 8),),
        crds="kubeflow-trainer",
        plural="trainjobs",
    ),
    Sample(
        "ray.io/v1",
        "RayCluster",
        RAY.replace("\n  ", "\n"),
        (("head", 1, 1, 0), ("worker gpus", 2, 6, 2)),
        crds="kuberay",
        plural="rayclusters",
    ),
    Sample(
        "ray.io/v1",
        "RayService",
        "serveConfigV2: 'applications: []'\nrayClusterConfig:" + RAY,
        (("head", 1, 1, 0), ("worker gpus", 2, 6, 2)),
        crds="kuberay",
        plural="rayservices",
    ),
    Sample(
        "ray.io/v1",
        "RayJob",
        "entrypoint: python t.py\nactiveDeadlineSeconds: 3600\nrayClusterSpec:" + RAY,
        (("head", 1, 1, 0), ("worker gpus", 2, 6, 2)),
        crds="kuberay",
        plural="rayjobs",
    ),
    Sample(
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        """
replicatedJobs:
- name: driver
  template: {spec: {template: {spec: DRIVER}}}
- name: workers
  replicas: 2
  template:
    spec:
      parallelism: 3
      completions: 3
      template:
        spec:
          restartPolicy: Never
          <GPU_POD>
""".replace(
            "DRIVER",
            "{restartPolicy: Never, containers: [{name: d, image: 'x/d:1', "
            "resources: {requests: {cpu: 1, memory: 1Gi}}}]}",
        ),
        (("job driver", 1, 1, 0), ("job workers", 6, 6, 2)),
        crds="jobset",
        plural="jobsets",
    ),
    Sample(
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        """
replicas: 2
leaderWorkerTemplate:
  size: 4
  leaderTemplate:
    spec: <POD>
  workerTemplate:
    spec: <GPU_POD>
""",
        (("leader", 2, 2, 0), ("worker", 6, 6, 2)),
        crds="leaderworkerset",
        plural="leaderworkersets",
    ),
    Sample(
        "kueue.x-k8s.io/v1beta1",
        "Workload",
        "podSets:\n- name: main\n  count: 3\n  template:\n    spec:\n      restartPolicy: Never\n      <GPU_POD>",
        (("podset main", 3, 3, 2),),
        crds="kueue",
        plural="workloads",
    ),
    Sample(
        "kueue.x-k8s.io/v1beta1",
        "ClusterQueue",
        """
namespaceSelector: {}
resourceGroups:
- coveredResources: [nvidia.com/gpu]
  flavors: [{name: h100, resources: [{name: nvidia.com/gpu, nominalQuota: 8}]}]
""",
        crds="kueue",
        plural="clusterqueues",
        namespaced=False,
    ),
    Sample("kueue.x-k8s.io/v1beta1", "LocalQueue", "clusterQueue: all", crds="kueue", plural="localqueues"),
    Sample(
        "serving.knative.dev/v1",
        "Service",
        """
template:
  metadata:
    annotations: {autoscaling.knative.dev/min-scale: "2", autoscaling.knative.dev/max-scale: "5"}
  spec: <POD>
""",
        (("revision", 2, 5, 0),),
        crds="knative-serving",
        plural="services",
    ),
    Sample(
        "argoproj.io/v1alpha1",
        "Rollout",
        "replicas: 5\nstrategy: {canary: {steps: [{setWeight: 20}]}}" + SELECTED,
        (("pod", 5, 5, 0),),
        crds="argo-rollouts",
        plural="rollouts",
    ),
    Sample("argoproj.io/v1alpha1", "Workflow", STEPS.replace("\n  ", "\n"), STEP_RUNS, crds=None),
    Sample(
        "argoproj.io/v1alpha1",
        "CronWorkflow",
        "schedules: ['CRON_TZ=Europe/Berlin 0 4 * * *']\nworkflowSpec:" + STEPS,
        STEP_RUNS,
        crds=None,
    ),
    Sample("argoproj.io/v1alpha1", "WorkflowTemplate", STEPS.replace("\n  ", "\n"), STEP_RUNS, crds=None),
    Sample(
        "pipelines.kubeflow.org/v2beta1",
        "PipelineVersion",
        """
pipelineSpec:
  deploymentSpec:
    executors:
      exec-train:
        container: {image: "apexlogic.com/train:1.0", command: [python, t.py]}
""",
        (("executor", 1, 1, 0),),
        crds=None,
    ),
    Sample(
        "keda.sh/v1alpha1",
        "ScaledJob",
        """
maxReplicaCount: 7
triggers: [{type: cron, metadata: {timezone: UTC, start: "0 1 * * *", end: "0 2 * * *", desiredReplicas: "3"}}]
jobTargetRef:
  template:
    spec:
      restartPolicy: Never
      <POD>
""",
        (("pod", 0, 7, 0),),
        crds="keda",
        plural="scaledjobs",
    ),
    Sample(
        "production-stack.vllm.ai/v1alpha1",
        "VLLMRuntime",
        """
model: {modelURL: meta-llama/Llama-3.1-8B}
deploymentConfig:
  replicas: 2
  image: {registry: docker.io, name: "lmcache/vllm-openai:v1"}
  resources: {cpu: "4", memory: 16Gi, gpu: "1"}
  nodeSelectorTerms: [{matchExpressions: [{key: nvidia.com/gpu.product, operator: In, values: [NVIDIA-L4]}]}]
autoscalingConfig: {enabled: true, minReplicas: 1, maxReplicas: 4}
""",
        (("engine", 1, 4, 1),),
        crds=None,
    ),
    Sample(
        "karpenter.sh/v1",
        "NodePool",
        """
limits: {cpu: "64", memory: 256Gi, nvidia.com/gpu: 8}
template:
  spec:
    nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
    requirements:
    - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
    - {key: karpenter.k8s.aws/instance-gpu-name, operator: In, values: [h100]}
""",
        crds="karpenter",
        plural="nodepools",
        namespaced=False,
    ),
    Sample(
        "v1",
        "PersistentVolumeClaim",
        "accessModes: [ReadWriteOnce]\nstorageClassName: premium-rwo\nresources: {requests: {storage: 100Gi}}",
        plural="persistentvolumeclaims",
    ),
    Sample(
        "v1",
        "PersistentVolume",
        "capacity: {storage: 1024Mi}\naccessModes: [ReadWriteOnce]\nhostPath: {path: /data}",
        plural="persistentvolumes",
        namespaced=False,
    ),
    Sample(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        """
scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: sample-deployment}
minReplicas: 2
maxReplicas: 10
metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]
""",
        plural="horizontalpodautoscalers",
    ),
    Sample(
        "resource.k8s.io/v1",
        "ResourceClaimTemplate",
        """
spec:
  devices:
    requests:
    - name: gpu
      exactly:
        deviceClassName: gpu.nvidia.com
        count: 2
        selectors:
        - cel: {expression: 'device.attributes["gpu.nvidia.com"].productName == "NVIDIA H100 80GB HBM3"'}
""",
        plural="resourceclaimtemplates",
    ),
)

BUILT_IN: tuple[Sample, ...] = (
    Sample(
        "v1",
        "Pod",
        "resources: {limits: {cpu: 2000m, memory: 1024Mi}}\ncontainers: [{name: a, image: x}, {name: b, image: y}]",
        plural="pods",
    ),
    Sample(
        "v1",
        "ResourceQuota",
        "hard: {requests.cpu: 4000m, requests.memory: 8192Mi, pods: '10'}",
        plural="resourcequotas",
    ),
    Sample(
        "v1",
        "LimitRange",
        "limits: [{type: Container, max: {cpu: 2000m, memory: 1Gi}, defaultRequest: {cpu: 100m}}]",
        plural="limitranges",
    ),
    Sample(
        "policy/v1",
        "PodDisruptionBudget",
        "minAvailable: 1\nselector: {matchLabels: {app: x}}",
        plural="poddisruptionbudgets",
    ),
    Sample("scheduling.k8s.io/v1", "PriorityClass", "value: 5", plural="priorityclasses", namespaced=False, root=True),
    Sample(
        "storage.k8s.io/v1",
        "StorageClass",
        "provisioner: pd.csi.storage.gke.io\nparameters: {type: pd-ssd}",
        plural="storageclasses",
        namespaced=False,
        root=True,
    ),
    Sample("node.k8s.io/v1", "RuntimeClass", "handler: gvisor", plural="runtimeclasses", namespaced=False, root=True),
    Sample(
        "networking.k8s.io/v1",
        "IngressClass",
        "controller: example.com/c",
        plural="ingressclasses",
        namespaced=False,
    ),
    Sample(
        "networking.k8s.io/v1",
        "Ingress",
        "rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, "
        "backend: {service: {name: a, port: {number: 80}}}}]}}]",
        plural="ingresses",
    ),
    Sample(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "podSelector: {}\ningress: [{ports: [{port: 80}]}]",
        plural="networkpolicies",
    ),
    Sample(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
        "matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], "
        "resources: [deployments]}]}\nvalidations: [{expression: 'true'}]",
        plural="validatingadmissionpolicies",
        namespaced=False,
    ),
    Sample(
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        "policyName: x\nvalidationActions: [Deny]\nmatchResources: {namespaceSelector: {matchLabels: {a: b}}}",
        plural="validatingadmissionpolicybindings",
        namespaced=False,
    ),
    Sample(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], "
        "clientConfig: {service: {name: a, namespace: b}}, rules: [{apiGroups: [''], apiVersions: [v1], "
        "operations: [CREATE], resources: [pods]}]}]",
        plural="validatingwebhookconfigurations",
        namespaced=False,
        root=True,
    ),
    Sample("coordination.k8s.io/v1", "Lease", "holderIdentity: a", plural="leases"),
    Sample(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.0.0.1]}]",
        plural="endpointslices",
        root=True,
    ),
    Sample(
        "resource.k8s.io/v1",
        "ResourceClaim",
        "devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com}}]}",
        plural="resourceclaims",
    ),
    Sample(
        "resource.k8s.io/v1",
        "DeviceClass",
        "selectors: [{cel: {expression: 'device.driver == \"gpu.nvidia.com\"'}}]",
        plural="deviceclasses",
        namespaced=False,
    ),
    Sample("storage.k8s.io/v1", "CSIDriver", "attachRequired: true", plural="csidrivers", namespaced=False),
    Sample(
        "v1",
        "Service",
        "selector: {app: x}\nports: [{port: 80}]",
        plural="services",
    ),
    Sample("v1", "ServiceAccount", "{}", plural="serviceaccounts", root=True),
    Sample("v1", "ConfigMap", "data: {a: b}", plural="configmaps", root=True),
    Sample("v1", "Secret", "stringData: {a: b}", plural="secrets", root=True),
    Sample(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "roleRef: {kind: Role, name: r, apiGroup: rbac.authorization.k8s.io}\n"
        "subjects: [{kind: ServiceAccount, name: s, namespace: models}, {kind: User, name: ada}]",
        plural="rolebindings",
        root=True,
    ),
)
"""Built-in kinds that run nothing: for identity alone."""
