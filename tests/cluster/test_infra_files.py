"""The files that a site takes from infra/ are valid: image, compose file, Kubernetes manifests, Prefect deployments."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

INFRA = ROOT / "infra"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_containerfile_passes_hadolint() -> None:
    done = run(str(Path(sys.executable).parent / "hadolint"), str(INFRA / "Containerfile"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_image_holds_every_package_and_the_locked_beam_version() -> None:
    text = (INFRA / "Containerfile").read_text()
    for package in ("schemas", "cxrlib", "pipelines", "flows"):
        assert f"COPY {package} {package}" in text
    lock = (INFRA.parent / "requirements.lock").read_text().splitlines()
    (beam,) = (line.split()[0].partition("==")[2] for line in lock if line.startswith("apache-beam=="))
    assert f"beam_python3.11_sdk:{beam}" in text, "expected the worker's Beam version to be the submitter's"


def test_compose_file_follows_the_compose_specification() -> None:
    done = run(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", f"{INFRA}/compose.yaml"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_file_publishes_ports_on_loopback_only_and_holds_no_password() -> None:
    services = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    secret = [
        (name, value)
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if any(part in name for part in ("SECRET", "PASSWORD", "KEY"))
    ]
    assert secret
    assert all(value.startswith("${") for _, value in secret)


def manifests() -> list[dict[str, Any]]:
    return [found for path in (INFRA / "kubernetes").glob("*.yaml") for found in yaml.safe_load_all(path.read_text())]


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_kubernetes_manifest_follows_its_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate = importlib.import_module("kubernetes_validate")
    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_each_deployment_names_an_existing_flow_and_its_parameters() -> None:
    deployments = yaml.safe_load((INFRA / "prefect.yaml").read_text())["deployments"]
    assert {deployment["name"] for deployment in deployments} == {"nightly", "backfill"}
    for deployment in deployments:
        path, _, name = deployment["entrypoint"].partition(":")
        flow = getattr(importlib.import_module(path.removeprefix("flows/").removesuffix(".py").replace("/", ".")), name)
        known = inspect.signature(flow.fn).parameters
        assert set(deployment["parameters"]) <= set(known)
        flow.validate_parameters({**deployment["parameters"]})
