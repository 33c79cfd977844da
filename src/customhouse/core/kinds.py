"""One table of kinds: where each kind declares its pods, how many of them, for how long, and what they load.

Data, not code: a kind is a row. Paths are JSON pointers; `*` stands for every item of a list and every key of a
mapping. Paths of a `PodPlace` start at its `owner`; one that begins with `^` starts at the object's root.

Sources, as of 2026-11: Kubernetes v1.36 API reference; KServe v0.16 `pkg/apis/serving`; Seldon Core v1 and v2 CRDs;
Kubeflow Trainer v2.0 and Training Operator v1.9; KubeRay v1.3; JobSet v0.8; LeaderWorkerSet v0.6; Kueue v0.14; Knative
Serving v0.51; Argo Rollouts v1.9; Argo Workflows v3.7; Kubeflow Pipelines v2; KEDA v2.21.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Form(Enum):
    """What stands at the place of a pod."""

    POD = "a PodSpec"
    COMPONENT = "a component of an InferenceService: a PodSpec with the model beside its containers"
    STEP = "a template of an Argo Workflow: one container, a script or a set, with its own pod settings"
    CONTAINER = "one container"
    ENGINE = "a vLLM engine: image and resources in fields of their own"


@dataclass(frozen=True, slots=True)
class Term:
    """A whole number in the object: its pointer, what is taken off, and by which other number it is divided."""

    pointer: str
    less: int = 0
    less_if: str = ""
    """When not empty, `less` counts only where this is there."""
    over: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """How many pods of a place there are. The first pointer that is there wins; `times` multiply both ends."""

    low: tuple[str, ...] = ("/replicas",)
    high: tuple[str, ...] = ()
    """None of them there: the low end, or no bound where `unbounded` says so."""
    default: int = 1
    times: tuple[tuple[Term, ...], ...] = ()
    """Each factor is its first term that is there, else 1."""
    most: str = ""
    """No more than this many, where it is there and not 0: a Job starts no more pods than it needs completions."""
    scaled_if: str = ""
    """The range counts only where this is true; otherwise `fixed` does."""
    fixed: tuple[str, ...] = ()
    unbounded: bool = False
    """Without a high end (missing, 0, or the largest 32-bit number) there is none."""


ONE = Count(low=())


@dataclass(frozen=True, slots=True)
class PodPlace:
    """One set of alike pods of a kind."""

    name: str
    owner: str = "/spec"
    pod: str = "/template/spec"
    count: Count = Count()
    form: Form = Form.POD
    required: bool = False
    """The pod is there even when nothing is written: the API server would refuse the object or run an empty one."""
    resources: str = "resources"
    """Where one container (Form.CONTAINER) has its resources."""
    selection: str = ""
    """Pattern from the root: overrides whose node selection holds for this pod."""
    defaults: str = ""
    """Pointer from the root to settings that hold for a pod that does not set them itself."""
    listed: str = ""
    """A field above the owner: where that is a list, another place stands for it (`canary` of KServe)."""


@dataclass(frozen=True, slots=True)
class Named:
    """An address of a model or a data set: `role` is `model` or `dataset`."""

    role: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One row. The batch fields are pointers from the root; the first that is there counts."""

    pods: tuple[PodPlace, ...] = ()
    batch: bool = False
    template: bool = False
    """Runs nothing by itself: others name it (a ServingRuntime, a WorkflowTemplate)."""
    per_node: bool = False
    names: tuple[Named, ...] = ()
    schedule: tuple[str, ...] = ()
    deadline: tuple[str, ...] = ()
    """Seconds after which all pods of a run are stopped."""
    retries: tuple[str, ...] = ()
    default_retries: int = 0
    completions: str = ""
    suspend: str = ""
    light: bool = False
    """Runs pods of its own only where it says what they need (the router of an InferenceGraph)."""
    closed: bool = False
    """A built-in kind: the API server drops what is not listed, so nothing can hide elsewhere in it."""


_SCALE = Count(low=("/minReplicas",), high=("/maxReplicas",), unbounded=True)
_WORKERS = ((Term("/workerSpec/pipelineParallelSize", less=1), Term("/workerSpec/size")),)
_LLM_SIZE = (
    Term("/parallelism/pipeline", less=1),
    Term("/parallelism/data", less=1, over="/parallelism/dataLocal"),
)
_POD = PodPlace("pod", required=True)
_JOB = Count(low=("/parallelism",), most="/completions")


def _component(owner: str, name: str, *, canary: str = "") -> tuple[PodPlace, ...]:
    place, listed = f"{owner}/{name}", owner if canary else ""
    return (
        PodPlace(name + canary, place, "", _SCALE, Form.COMPONENT, listed=listed),
        PodPlace(
            "worker" + canary if name == "predictor" else f"{name}-worker{canary}",
            place,
            "/workerSpec",
            Count(low=("/minReplicas",), high=("/maxReplicas",), times=_WORKERS, unbounded=True),
            listed=listed,
        ),
    )


def _ray(root: str) -> tuple[PodPlace, ...]:
    workers = Count(
        low=("/minReplicas",),
        high=("/maxReplicas",),
        default=0,
        times=((Term("/numOfHosts"),),),
        scaled_if=f"^{root}/enableInTreeAutoscaling",
        fixed=("/replicas", "/minReplicas"),
        unbounded=True,
    )
    return (
        PodPlace("head", f"{root}/headGroupSpec", count=ONE),
        PodPlace("worker", f"{root}/workerGroupSpecs/*", count=workers),
    )


def _training(owner: str) -> Kind:
    """A job of the Training Operator (kubeflow.org/v1): replicas by role."""
    return Kind(
        pods=(PodPlace("replica", f"/spec/{owner}/*"),),
        batch=True,
        deadline=("/spec/runPolicy/activeDeadlineSeconds", "/spec/activeDeadlineSeconds"),
        retries=("/spec/runPolicy/backoffLimit", "/spec/backoffLimit"),
        suspend="/spec/runPolicy/suspend",
    )


def _argo(root: str) -> tuple[PodPlace, ...]:
    return (PodPlace("step", f"{root}/templates/*", "", ONE, Form.STEP, defaults=root),)


def _workflow(root: str, schedule: tuple[str, ...] = (), *, template: bool = False) -> Kind:
    return Kind(
        pods=_argo(root),
        batch=True,
        template=template,
        schedule=schedule,
        deadline=(f"{root}/activeDeadlineSeconds",),
        suspend="/spec/suspend",
    )


_INFERENCE_SERVICE = Kind(
    pods=(
        *(
            place
            for owner, canary in (("/spec", ""), ("/spec/default", ""), ("/spec/canary", "-canary"))
            for name in ("predictor", "transformer", "explainer")
            for place in _component(owner, name, canary=canary)
        ),
        # KServe v0.20, in the mode Standard: of a fixed size, which is no more than the predictor's.
        PodPlace("predictor-canary", "/spec/canary/*/predictor", "", Count(low=("/minReplicas",)), Form.COMPONENT),
    ),
)
_RUNTIME = Kind(pods=(PodPlace("runtime", pod=""), PodPlace("worker", pod="/workerSpec")), template=True)
_LLM_PODS = (
    PodPlace("decode", pod="/template"),
    PodPlace("decode-worker", pod="/worker", count=Count(times=(_LLM_SIZE,))),
    PodPlace("prefill", "/spec/prefill", "/template"),
    PodPlace("prefill-worker", "/spec/prefill", "/worker", Count(times=(_LLM_SIZE,))),
    PodPlace("scheduler", "/spec/router/scheduler", "/template", ONE),
)
_LLM_MODELS = (Named("model", "/spec/model/uri"), Named("model", "/spec/model/lora/adapters/*/uri"))
_TRAINING_RUNTIME = Kind(
    pods=(
        PodPlace(
            "replica",
            "/spec/template/spec/replicatedJobs/*",
            "/template/spec/template/spec",
            Count(low=("/template/spec/parallelism",), times=((Term("/replicas"),),)),
        ),
    ),
    batch=True,
    template=True,
)
_KNATIVE = Count(
    low=(
        "/template/metadata/annotations/autoscaling.knative.dev~1min-scale",
        "/template/metadata/annotations/autoscaling.knative.dev~1minScale",
    ),
    high=(
        "/template/metadata/annotations/autoscaling.knative.dev~1max-scale",
        "/template/metadata/annotations/autoscaling.knative.dev~1maxScale",
    ),
    default=0,
    unbounded=True,
)
_SELDON = Count(
    low=("/hpaSpec/minReplicas", "/replicas"),
    high=("/hpaSpec/maxReplicas", "/replicas"),
)
_OLD = ("apps", "extensions")

KINDS: Mapping[tuple[str, str], Kind] = {
    # Kubernetes itself
    ("", "Pod"): Kind((PodPlace("pod", "", "/spec", ONE, required=True),), closed=True),
    ("", "ConfigMap"): Kind(closed=True),
    ("", "Secret"): Kind(closed=True),
    # A schema of pods is no pod, and these are the largest objects of a cluster.
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Kind(closed=True),
    ("", "PodTemplate"): Kind((PodPlace("pod", "", "/template/spec", ONE),), template=True, closed=True),
    ("", "ReplicationController"): Kind((_POD,), closed=True),
    **{(group, kind): Kind((_POD,), closed=True) for group in _OLD for kind in ("Deployment", "ReplicaSet")},
    ("apps", "StatefulSet"): Kind((_POD,), closed=True),
    **{
        (group, "DaemonSet"): Kind((PodPlace("pod", count=ONE, required=True),), per_node=True, closed=True)
        for group in _OLD
    },
    ("batch", "Job"): Kind(
        (PodPlace("pod", count=_JOB, required=True),),
        batch=True,
        deadline=("/spec/activeDeadlineSeconds",),
        retries=("/spec/backoffLimit",),
        default_retries=6,
        completions="/spec/completions",
        suspend="/spec/suspend",
        closed=True,
    ),
    ("batch", "CronJob"): Kind(
        (PodPlace("pod", "/spec/jobTemplate/spec", count=_JOB, required=True),),
        batch=True,
        schedule=("/spec/schedule",),
        deadline=("/spec/jobTemplate/spec/activeDeadlineSeconds",),
        retries=("/spec/jobTemplate/spec/backoffLimit",),
        default_retries=6,
        completions="/spec/jobTemplate/spec/completions",
        suspend="/spec/suspend",
        closed=True,
    ),
    # KServe; the second group is its name before the project was
    ("serving.kserve.io", "InferenceService"): _INFERENCE_SERVICE,
    ("serving.kubeflow.org", "InferenceService"): _INFERENCE_SERVICE,
    ("serving.kserve.io", "LLMInferenceService"): Kind(_LLM_PODS, names=_LLM_MODELS),
    ("serving.kserve.io", "LLMInferenceServiceConfig"): Kind(_LLM_PODS, template=True, names=_LLM_MODELS),
    ("serving.kserve.io", "ServingRuntime"): _RUNTIME,
    ("serving.kserve.io", "ClusterServingRuntime"): _RUNTIME,
    # The router of a graph; its steps are services of their own.
    ("serving.kserve.io", "InferenceGraph"): Kind(
        (PodPlace("router", "/spec", "", _SCALE, Form.CONTAINER),), light=True
    ),
    ("serving.kserve.io", "TrainedModel"): Kind(names=(Named("model", "/spec/model/storageUri"),)),
    ("serving.kserve.io", "LocalModelCache"): Kind(names=(Named("model", "/spec/sourceModelUri"),)),
    ("serving.kserve.io", "ClusterStorageContainer"): Kind(
        (PodPlace("initializer", "/spec/container", "", ONE, Form.CONTAINER),), template=True
    ),
    # Seldon Core
    ("machinelearning.seldon.io", "SeldonDeployment"): Kind(
        (
            PodPlace(
                "predictor",
                "/spec/predictors/*/componentSpecs/*",
                "/spec",
                Count(_SELDON.low, _SELDON.high),
            ),
            PodPlace("explainer", "/spec/predictors/*/explainer/containerSpec", "", ONE, Form.CONTAINER),
        ),
        names=(
            Named("model", "/spec/predictors/*/graph/modelUri"),
            Named("model", "/spec/predictors/*/graph/children/*/modelUri"),
            Named("model", "/spec/predictors/*/graph/children/*/children/*/modelUri"),
            Named("model", "/spec/predictors/*/explainer/modelUri"),
        ),
    ),
    ("mlops.seldon.io", "Model"): Kind(names=(Named("model", "/spec/storageUri"),)),
    ("mlops.seldon.io", "Server"): Kind(
        (
            PodPlace(
                "server",
                "/spec",
                "/podSpec",
                Count(("/minReplicas", "/replicas"), ("/maxReplicas", "/replicas")),
            ),
        ),
    ),
    ("mlops.seldon.io", "ServerConfig"): Kind((PodPlace("server", "/spec", "/podSpec", ONE),), template=True),
    # vLLM production stack (operator/api/v1alpha1/vllmruntime_types.go)
    ("production-stack.vllm.ai", "VLLMRuntime"): Kind(
        (
            PodPlace(
                "engine",
                "/spec",
                "/deploymentConfig",
                Count(
                    low=("/autoscalingConfig/minReplicas",),
                    high=("/autoscalingConfig/maxReplicas",),
                    scaled_if="^/spec/autoscalingConfig/enabled",
                    fixed=("/deploymentConfig/replicas",),
                ),
                Form.ENGINE,
            ),
        ),
        names=(Named("model", "/spec/model/modelURL"),),
    ),
    # Kubeflow
    **{
        ("kubeflow.org", name): _training(owner)
        for name, owner in (
            ("PyTorchJob", "pytorchReplicaSpecs"),
            ("TFJob", "tfReplicaSpecs"),
            ("MPIJob", "mpiReplicaSpecs"),
            ("XGBoostJob", "xgbReplicaSpecs"),
            ("PaddleJob", "paddleReplicaSpecs"),
            ("JAXJob", "jaxReplicaSpecs"),
            ("MXJob", "mxReplicaSpecs"),
        )
    },
    ("kubeflow.org", "Notebook"): Kind((PodPlace("notebook", count=ONE),)),
    ("trainer.kubeflow.org", "TrainJob"): Kind(
        (
            PodPlace(
                "trainer",
                "/spec/trainer",
                "",
                Count(low=("/numNodes",)),
                Form.CONTAINER,
                resources="resourcesPerNode",
                selection="/spec/podSpecOverrides/*",
            ),
        ),
        batch=True,
        names=(
            Named("model", "/spec/initializer/model/storageUri"),
            Named("dataset", "/spec/initializer/dataset/storageUri"),
        ),
        suspend="/spec/suspend",
    ),
    ("trainer.kubeflow.org", "TrainingRuntime"): _TRAINING_RUNTIME,
    ("trainer.kubeflow.org", "ClusterTrainingRuntime"): _TRAINING_RUNTIME,
    ("pipelines.kubeflow.org", "PipelineVersion"): Kind(
        (PodPlace("executor", "/spec/pipelineSpec/deploymentSpec/executors/*/container", "", ONE, Form.CONTAINER),),
        batch=True,
        template=True,
    ),
    # Ray
    ("ray.io", "RayCluster"): Kind(_ray("/spec"), suspend="/spec/suspend"),
    ("ray.io", "RayService"): Kind(_ray("/spec/rayClusterConfig")),
    ("ray.io", "RayJob"): Kind(
        (
            *_ray("/spec/rayClusterSpec"),
            PodPlace("submitter", "/spec", "/submitterPodTemplate/spec", ONE),
        ),
        batch=True,
        deadline=("/spec/activeDeadlineSeconds",),
        retries=("/spec/backoffLimit",),
        suspend="/spec/suspend",
    ),
    # Kubernetes SIGs
    ("jobset.x-k8s.io", "JobSet"): Kind(
        (
            PodPlace(
                "job",
                "/spec/replicatedJobs/*",
                "/template/spec/template/spec",
                Count(
                    low=("/template/spec/parallelism",),
                    most="/template/spec/completions",
                    times=((Term("/replicas"),),),
                ),
            ),
        ),
        batch=True,
        deadline=("/spec/replicatedJobs/*/template/spec/activeDeadlineSeconds",),
        retries=("/spec/failurePolicy/maxRestarts",),
        suspend="/spec/suspend",
    ),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): Kind(
        (
            PodPlace("leader", "/spec", "/leaderWorkerTemplate/leaderTemplate/spec"),
            PodPlace(
                "worker",
                "/spec",
                "/leaderWorkerTemplate/workerTemplate/spec",
                # Without a template of its own the leader is made from the workers'.
                Count(
                    times=((Term("/leaderWorkerTemplate/size", 1, less_if="/leaderWorkerTemplate/leaderTemplate"),),)
                ),
            ),
        ),
    ),
    ("kueue.x-k8s.io", "Workload"): Kind(
        (PodPlace("podset", "/spec/podSets/*", count=Count(("/minCount", "/count"), ("/count",))),), batch=True
    ),
    # Knative
    ("serving.knative.dev", "Service"): Kind((PodPlace("revision", count=_KNATIVE),)),
    ("serving.knative.dev", "Configuration"): Kind((PodPlace("revision", count=_KNATIVE),)),
    # Argo
    ("argoproj.io", "Rollout"): Kind((PodPlace("pod"),)),
    ("argoproj.io", "Experiment"): Kind((PodPlace("pod", "/spec/templates/*"),)),
    ("argoproj.io", "Workflow"): _workflow("/spec"),
    ("argoproj.io", "CronWorkflow"): _workflow("/spec/workflowSpec", ("/spec/schedule", "/spec/schedules")),
    ("argoproj.io", "WorkflowTemplate"): _workflow("/spec", template=True),
    ("argoproj.io", "ClusterWorkflowTemplate"): _workflow("/spec", template=True),
    # KEDA
    ("keda.sh", "ScaledJob"): Kind(
        (
            PodPlace(
                "pod",
                "/spec/jobTargetRef",
                count=Count(("^/spec/minReplicaCount",), ("^/spec/maxReplicaCount",), default=0, unbounded=True),
            ),
        ),
        batch=True,
        deadline=("/spec/jobTargetRef/activeDeadlineSeconds",),
        retries=("/spec/jobTargetRef/backoffLimit",),
        default_retries=6,
    ),
}
"""(group, kind) → its row. What is not here and holds containers is found by their look (`podsets.embedded`)."""


def kind_of(api_version: str, kind: str) -> Kind | None:
    """The row of a kind; None for kinds that are not in the table."""
    group, slash, _ = api_version.rpartition("/")
    return KINDS.get((group if slash else "", kind))
