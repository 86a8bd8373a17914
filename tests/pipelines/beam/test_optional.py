"""The optional modules of Beam: left out by default, imported for a runner on a cluster."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from cxr_pipelines.beam.optional import OPTIONAL, without_modules

#: Libraries that the optional modules import; each takes more than 50 ms.
CLIENTS = ("azure.storage.blob", "boto3", "google.cloud.storage", "scipy.optimize")


def output_of(program: str) -> Any:
    """Return the JSON document that a program prints in a new process."""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not done.stderr
    return json.loads(done.stdout)


def test_beam_is_imported_without_store_clients() -> None:
    printed = output_of(f"""
import json, logging, sys
import cxr_pipelines.beam.run_graph
from apache_beam.ml.inference import base
names = {OPTIONAL + CLIENTS}
print(json.dumps([[name for name in names if name in sys.modules], base.resource.__name__, logging.root.handlers]))
""")
    assert printed == [[], "resource", []]


def test_cluster_runner_gets_all_modules() -> None:
    printed = output_of(f"""
import json, sys
from cxr_pipelines.beam.runners import make_runner
from apache_beam.io.filesystems import FileSystems
from cxr_pipelines.runner_choice import RunnerChoice
options = ("--job_endpoint=localhost:1", "--environment_type=EXTERNAL")
make_runner(RunnerChoice.parse("portable", options))
schemes = [FileSystems.get_filesystem(f"{{scheme}}://a/b/c").scheme() for scheme in ("azfs", "gs", "s3")]
print(json.dumps([[name for name in {OPTIONAL} if name not in sys.modules], schemes]))
""")
    assert printed == [[], ["azfs", "gs", "s3"]]


def test_warning_about_a_missing_client_is_suppressed() -> None:
    printed = output_of("""
import json, logging
from cxr_pipelines.beam.optional import import_optional
import_optional()
print(json.dumps([logging.root.level, logging.root.handlers]))
""")
    assert printed == [logging.WARNING, []]


def test_left_out_module_can_be_imported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without_modules(["colorsys"]), pytest.raises(ModuleNotFoundError):
        importlib.import_module("colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv(0.0, 0.0, 1.0)


def test_module_imported_before_stays() -> None:
    with without_modules(["json"]):
        assert importlib.import_module("json") is json
