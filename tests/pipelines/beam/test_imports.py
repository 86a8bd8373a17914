"""What importing Beam through this package brings, and what it leaves out."""

from __future__ import annotations

import json
import subprocess
import sys


def test_importing_beam_loads_no_torch_and_leaves_the_root_logger_alone() -> None:
    program = """
import json, logging, sys
import cxr_pipelines.beam.run_graph
heavy = [name for name in ("torch", "scipy.optimize", "timm") if name in sys.modules]
print(json.dumps([heavy, logging.root.handlers, logging.root.level]))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not done.stderr
    assert json.loads(done.stdout) == [[], [], 30]
