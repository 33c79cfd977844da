// The modules whose CRDs tests apply; nothing of them is built.
module customhouse.dev/parts/crds

go 1.26.0

require (
	github.com/kserve/kserve v0.16.0
	sigs.k8s.io/kueue v0.14.0
	sigs.k8s.io/gateway-api v1.5.1
	github.com/argoproj/argo-rollouts v1.9.0
	github.com/argoproj/argo-cd/v3 v3.4.0
	sigs.k8s.io/jobset v0.8.0
	sigs.k8s.io/lws v0.6.0
	sigs.k8s.io/karpenter v1.8.0
	github.com/ray-project/kuberay/ray-operator v1.3.0
	github.com/kubeflow/trainer/v2 v2.0.0
	github.com/kedacore/keda/v2 v2.21.0
	knative.dev/serving v0.51.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	github.com/external-secrets/external-secrets v1.3.2
	github.com/cert-manager/cert-manager v1.21.2
	github.com/bitnami-labs/sealed-secrets v0.40.0
	github.com/open-policy-agent/gatekeeper/v3 v3.23.1
	github.com/kyverno/kyverno v1.13.4
	sigs.k8s.io/secrets-store-csi-driver v1.4.8
	github.com/fluxcd/source-controller v1.7.3
	github.com/fluxcd/kustomize-controller v1.7.3
)
