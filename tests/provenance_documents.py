"""Provenance as builders of others write it, after their published examples; and a small world of expectations."""

from __future__ import annotations

from typing import Any

SHA = {letter: letter * 64 for letter in "abcdef"}
COMMIT = "5d1ce0f1f2a3b4c5d6e7f8091a2b3c4d5e6f7081"
GITHUB_BUILDER = "https://github.com/acme/fraud/.github/workflows/build.yml@refs/heads/main"
GENERATOR = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0"


def github() -> dict[str, Any]:
    """`actions/attest-build-provenance`."""
    return {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {
                "workflow": {
                    "ref": "refs/heads/main",
                    "repository": "https://github.com/acme/fraud",
                    "path": ".github/workflows/build.yml",
                }
            },
            "internalParameters": {
                "github": {"event_name": "push", "repository_id": "1", "runner_environment": "github-hosted"}
            },
            "resolvedDependencies": [
                {"uri": "git+https://github.com/acme/fraud@refs/heads/main", "digest": {"gitCommit": COMMIT}}
            ],
        },
        "runDetails": {
            "builder": {"id": GITHUB_BUILDER},
            "metadata": {"invocationId": "https://github.com/acme/fraud/actions/runs/1/attempts/1"},
        },
    }


def generator_v02() -> dict[str, Any]:
    """The generic generator of slsa-github-generator (v0.2)."""
    return {
        "builder": {"id": GENERATOR},
        "buildType": "https://github.com/slsa-framework/slsa-github-generator/generic@v1",
        "invocation": {
            "configSource": {
                "uri": "git+https://github.com/acme/fraud@refs/tags/v1.2.3",
                "digest": {"sha1": COMMIT},
                "entryPoint": ".github/workflows/release.yml",
            },
            "parameters": {},
            "environment": {"github_event_name": "push", "github_ref": "refs/tags/v1.2.3", "github_sha1": COMMIT},
        },
        "metadata": {
            "buildInvocationID": "1-1",
            "completeness": {"parameters": True, "environment": False, "materials": False},
            "reproducible": False,
        },
        "materials": [{"uri": "git+https://github.com/acme/fraud@refs/tags/v1.2.3", "digest": {"sha1": COMMIT}}],
    }


def container_based() -> dict[str, Any]:
    """The container-based builder of slsa-github-generator (v1)."""
    return {
        "buildDefinition": {
            "buildType": "https://slsa.dev/container-based-build/v0.1?draft",
            "externalParameters": {
                "source": {"uri": "git+https://github.com/acme/fraud@refs/heads/main", "digest": {"sha1": COMMIT}},
                "builderImage": {"uri": f"alpine@sha256:{SHA['a']}", "digest": {"sha256": SHA["a"]}},
                "configPath": "config.toml",
                "buildConfig": {"ArtifactPath": "out/*", "Command": ["sh", "-c", "make"]},
            },
            "resolvedDependencies": [
                {"uri": "git+https://github.com/acme/fraud@refs/heads/main", "digest": {"sha1": COMMIT}},
                {"uri": f"alpine@sha256:{SHA['a']}", "digest": {"sha256": SHA["a"]}},
            ],
        },
        "runDetails": {
            "builder": {"id": "https://github.com/slsa-framework/slsa-github-generator/b.yml@refs/tags/v2.1.0"}
        },
    }


def tekton() -> dict[str, Any]:
    """Tekton Chains, `slsa/v2alpha4` and the like (v1)."""
    return {
        "buildDefinition": {
            "buildType": "https://tekton.dev/chains/v2/slsa",
            "externalParameters": {
                "runSpec": {
                    "pipelineRef": {"name": "build"},
                    "params": [{"name": "revision", "value": "main"}],
                    "timeouts": {"pipeline": "1h0m0s"},
                }
            },
            "internalParameters": {"tekton-pipelines-feature-flags": {"EnableAPIFields": "beta"}},
            "resolvedDependencies": [
                {
                    "name": "pipeline",
                    "uri": "git+https://github.com/acme/pipelines.git",
                    "digest": {"sha1": "1" * 40},
                },
                {"uri": "oci://gcr.io/tekton/git-init", "digest": {"sha256": SHA["b"]}},
                {"name": "inputs/result", "uri": "git+https://github.com/acme/fraud.git", "digest": {"sha1": COMMIT}},
            ],
        },
        "runDetails": {
            "builder": {"id": "https://tekton.dev/chains/v2"},
            "metadata": {
                "invocationId": "1f0b",
                "startedOn": "2026-03-01T10:00:00Z",
                "finishedOn": "2026-03-01T10:05:00Z",
            },
            "byproducts": [{"name": "taskRunResults/x", "mediaType": "application/json", "content": "InYi"}],
        },
    }


def tekton_v02() -> dict[str, Any]:
    """Tekton Chains' first form (v0.2)."""
    return {
        "builder": {"id": "https://tekton.dev/chains/v2"},
        "buildType": "tekton.dev/v1beta1/TaskRun",
        "invocation": {"configSource": {}, "parameters": {"revision": "main"}},
        "buildConfig": {"steps": [{"entryPoint": "make", "arguments": None}]},
        "metadata": {
            "buildStartedOn": "2026-03-01T10:00:00Z",
            "buildFinishedOn": "2026-03-01T10:05:00Z",
            "completeness": {"parameters": False, "environment": False, "materials": False},
            "reproducible": False,
        },
        "materials": [
            {"uri": "oci://docker.io/library/bash", "digest": {"sha256": SHA["b"]}},
            {"uri": "git+https://github.com/acme/fraud.git", "digest": {"sha1": COMMIT}},
        ],
    }


def gitlab() -> dict[str, Any]:
    """GitLab's runner (v1). The commit is filed under sha256, with 40 digits."""
    return {
        "buildDefinition": {
            "buildType": "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v17.0.0/PROVENANCE.md",
            "externalParameters": {
                "CI_PIPELINE_ID": "",
                "entryPoint": "build-job",
                "source": "https://gitlab.com/acme/fraud",
            },
            "internalParameters": {"name": "runner", "executor": "docker+machine", "architecture": "amd64", "job": "1"},
            "resolvedDependencies": [{"uri": "https://gitlab.com/acme/fraud", "digest": {"sha256": COMMIT}}],
        },
        "runDetails": {
            "builder": {
                "id": "https://gitlab.com/acme/fraud/-/runners/12270837",
                "version": {"gitlab-runner": "17.0.0"},
            },
            "metadata": {
                "invocationId": "1",
                "startedOn": "2026-03-01T10:00:00Z",
                "finishedOn": "2026-03-01T10:05:00Z",
            },
        },
    }


def gitlab_v02() -> dict[str, Any]:
    """GitLab's runner before version 16 (v0.2)."""
    return {
        "buildType": "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v15.1.0/PROVENANCE.md",
        "builder": {"id": "https://gitlab.com/acme/fraud/-/runners/14811533"},
        "invocation": {
            "configSource": {
                "uri": "https://gitlab.com/acme/fraud",
                "digest": {"sha256": COMMIT},
                "entryPoint": "whoami shell",
            },
            "environment": {"name": "local", "executor": "shell", "architecture": "amd64"},
            "parameters": {"CI": "", "CI_JOB_ID": ""},
        },
        "metadata": {
            "buildStartedOn": "2026-03-01T10:00:00Z",
            "buildFinishedOn": "2026-03-01T10:00:05Z",
            "reproducible": False,
            "completeness": {"parameters": True, "environment": True, "materials": False},
        },
        "materials": [],
    }
