"""What a site takes from infra/ is well-formed: the image, the compose file, the manifests, the deployments."""

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


def test_the_image_is_defined_as_hadolint_would_have_it() -> None:
    done = run(str(Path(sys.executable).parent / "hadolint"), str(INFRA / "Containerfile"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_holds_every_package_that_is_imported_and_beams_own_start_for_workers() -> None:
    text = (INFRA / "Containerfile").read_text()
    for package in ("schemas", "cxrlib", "pipelines", "flows"):
        assert f"COPY {package} {package}" in text
    lock = (INFRA.parent / "requirements.lock").read_text().splitlines()
    (beam,) = (line.split()[0].partition("==")[2] for line in lock if line.startswith("apache-beam=="))
    assert f"beam_python3.11_sdk:{beam}" in text, "worker and submitter are of one version of Beam"


def test_the_compose_file_is_one_by_the_compose_specification() -> None:
    done = run(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", f"{INFRA}/compose.yaml"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_publishes_ports_to_this_machine_alone_and_holds_no_password() -> None:
    services = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    secret = [
        (name, value)
        for service in services.values()
        for name, value in service.get("environment", {}).items()
        if any(word in name for word in ("SECRET", "PASSWORD", "KEY"))
    ]
    assert secret
    assert all(value.startswith("${") for _, value in secret)


def manifests() -> list[dict[str, Any]]:
    return [found for path in (INFRA / "kubernetes").glob("*.yaml") for found in yaml.safe_load_all(path.read_text())]


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_a_kubernetes_manifest_is_one_by_its_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate = importlib.import_module("kubernetes_validate")
    kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_each_deployment_names_a_flow_and_parameters_that_it_has() -> None:
    deployments = yaml.safe_load((INFRA / "prefect.yaml").read_text())["deployments"]
    assert {deployment["name"] for deployment in deployments} == {"nightly", "backfill"}
    for deployment in deployments:
        path, _, name = deployment["entrypoint"].partition(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
        known = inspect.signature(flow.fn).parameters
        assert set(deployment["parameters"]) <= set(known)
        flow.validate_parameters({**deployment["parameters"]})
