"""What Beam is imported without, each in a fresh process, and what a runner elsewhere gets back."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from cxr_pipelines.beam.optional import OPTIONAL, without_modules

#: What the optional parts import, each longer than 50 ms.
CLIENTS = ("azure.storage.blob", "boto3", "google.cloud.storage", "scipy.optimize")


def tell(program: str) -> Any:
    """What a program prints as JSON, of a process that has imported nothing but it."""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not done.stderr
    return json.loads(done.stdout)


def test_beam_comes_without_the_clients_of_stores() -> None:
    told = tell(f"""
import json, logging, sys
import cxr_pipelines.beam.run_graph
from apache_beam.ml.inference import base
names = {OPTIONAL + CLIENTS}
print(json.dumps([[name for name in names if name in sys.modules], base.resource.__name__, logging.root.handlers]))
""")
    assert told == [[], "resource", []]


def test_a_runner_elsewhere_gets_beam_whole() -> None:
    told = tell(f"""
import json, sys
from cxr_pipelines.beam.runners import make_runner
from apache_beam.io.filesystems import FileSystems
from cxr_pipelines.runner_choice import RunnerChoice
options = ("--job_endpoint=localhost:1", "--environment_type=EXTERNAL")
make_runner(RunnerChoice.parse("portable", options))
schemes = [FileSystems.get_filesystem(f"{{scheme}}://a/b/c").scheme() for scheme in ("azfs", "gs", "s3")]
print(json.dumps([[name for name in {OPTIONAL} if name not in sys.modules], schemes]))
""")
    assert told == [[], ["azfs", "gs", "s3"]]


def test_a_notice_of_what_is_not_installed_is_kept_back() -> None:
    told = tell("""
import json, logging
from cxr_pipelines.beam.optional import import_optional
import_optional()
print(json.dumps([logging.root.level, logging.root.handlers]))
""")
    assert told == [logging.WARNING, []]


def test_what_is_left_out_can_be_imported_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without_modules(["colorsys"]), pytest.raises(ModuleNotFoundError):
        importlib.import_module("colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv(0.0, 0.0, 1.0)


def test_what_is_imported_already_stays() -> None:
    with without_modules(["json"]):
        assert importlib.import_module("json") is json
