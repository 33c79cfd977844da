"""Wiring of the places that models are fetched from: the other module that names adapters, beside `wiring`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from customhouse.app import wiring
from customhouse.app.settings import Settings

if TYPE_CHECKING:
    from customhouse.trust.adapters.registries.hub import HubStore
    from customhouse.trust.adapters.registries.layout import LayoutRegistry
    from customhouse.trust.adapters.registries.mlflow import MlflowStore
    from customhouse.trust.adapters.registries.s3 import S3Store
    from customhouse.trust.adapters.registries.sagemaker import SageMakerStore
    from customhouse.trust.publishing import ModelRegistry
    from customhouse.trust.remote import ModelStore


def model_store(settings: Settings, scheme: str) -> ModelStore:
    """Where references of a scheme lie, with the access that the environment gives. Raises KeyError for no such one."""
    return MODEL_STORES[scheme](settings)


def s3(settings: Settings) -> S3Store:
    """Amazon S3, or the endpoint that AWS_ENDPOINT_URL(_S3) names."""
    from customhouse.trust.adapters.registries.aws_access import aws_access
    from customhouse.trust.adapters.registries.s3 import S3Store

    found = aws_access(settings.environment)
    authority = settings.environment.get("AWS_CA_BUNDLE") or None
    return S3Store(wiring.clock(), found.keys, region=found.region, endpoint=found.endpoint, authority=authority)


def mlflow(settings: Settings) -> MlflowStore:
    """MLflow servers; the login of the environment is for the one that MLFLOW_TRACKING_URI names."""
    from customhouse.trust.adapters.registries.mlflow import Login, MlflowStore

    said = settings.environment
    token = said.get("MLFLOW_TRACKING_TOKEN", "")
    login = Login(
        "" if token else said.get("MLFLOW_TRACKING_USERNAME", ""), token or said.get("MLFLOW_TRACKING_PASSWORD", "")
    )
    base = said.get("MLFLOW_TRACKING_URI", "")
    return MlflowStore(
        base if base.startswith(("https://", "http://")) else None,
        login,
        lambda scheme: s3(settings) if scheme == "s3" else None,
        authority=said.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None,
    )


def hub(settings: Settings) -> HubStore:
    """Hugging Face's hub, or the one that HF_ENDPOINT names."""
    from customhouse.trust.adapters.registries.hub import HUB, HubStore

    return HubStore(settings.environment.get("HF_ENDPOINT") or HUB, settings.environment.get("HF_TOKEN", ""))


def sagemaker(settings: Settings) -> SageMakerStore:
    """Amazon SageMaker's registry, or the endpoint that AWS_ENDPOINT_URL(_SAGEMAKER) names."""
    from customhouse.trust.adapters.registries.aws_access import aws_access
    from customhouse.trust.adapters.registries.sagemaker import SageMakerStore

    said = settings.environment
    found = aws_access(said)
    endpoint = said.get("AWS_ENDPOINT_URL_SAGEMAKER") or said.get("AWS_ENDPOINT_URL") or None
    return SageMakerStore(wiring.clock(), found.keys, s3(settings), region=found.region, endpoint=endpoint)


MODEL_STORES: Mapping[str, Callable[[Settings], ModelStore]] = {
    "s3": s3,
    "mlflow": mlflow,
    "hf": hub,
    "sagemaker": sagemaker,
}
"""Schemes of references to files that a store lists (an OCI registry has manifests, and a way of its own)."""


def _oci_models(settings: Settings) -> ModelRegistry:
    from customhouse.trust.adapters.registries.publish_oci import OciModels, in_registry

    return OciModels(lambda text: in_registry(text, lambda host: wiring.registry(settings, host)))


def _layout_models(_: Settings) -> ModelRegistry:
    from customhouse.trust.adapters.registries.publish_oci import OciModels, in_layout

    return OciModels(in_layout)


def layout(reference: str) -> tuple[LayoutRegistry, str]:
    """The OCI layout that a reference names, and the digest that is meant. Raises UsageError, ArtifactError."""
    from customhouse.trust.adapters.registries.layout import LayoutRegistry, parse

    folder, tag, digest = parse(reference)
    opened = LayoutRegistry(folder)
    return opened, digest or opened.resolve("", tag or "latest")


def _s3_models(settings: Settings) -> ModelRegistry:
    from customhouse.trust.adapters.registries.publish_s3 import S3Models

    return S3Models(s3(settings))


def _mlflow_models(settings: Settings) -> ModelRegistry:
    from customhouse.trust.adapters.registries.publish_mlflow import MlflowModels

    return MlflowModels(mlflow(settings), wiring.clock())


def _sagemaker_models(settings: Settings) -> ModelRegistry:
    from customhouse.trust.adapters.registries.publish_s3 import S3Models
    from customhouse.trust.adapters.registries.publish_sagemaker import SageMakerModels

    return SageMakerModels(sagemaker(settings), S3Models(s3(settings)))


MODEL_REGISTRIES: Mapping[str, Callable[[Settings], ModelRegistry]] = {
    "oci": _oci_models,
    "oci-layout": _layout_models,
    "s3": _s3_models,
    "mlflow": _mlflow_models,
    "sagemaker": _sagemaker_models,
}
"""Schemes of references to places that models are registered in."""
