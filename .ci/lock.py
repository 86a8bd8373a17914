"""Write requirements.lock: the exact versions that `make` installs, for the demo, training and development.

``python .ci/lock.py`` asks pip what it would install for ``.[dev]`` and writes name and version alone: no addresses
and no hashes, so that any index or mirror serves. Run by ``make lock``; needs nothing but pip.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
OWN_NAME = "cxr-batch"
#: Parts of CUDA that torch pulls in on Linux only; elsewhere they do not exist and the lock must still install.
LINUX_ONLY = re.compile(r"(nvidia-|cuda-|triton$)")
HEADER = """\
# Exact versions of everything that the demo, training and development need; made by `make lock`.
# Python 3.11 and later. Accelerator libraries that torch brings on Linux carry a marker.
"""


def resolve() -> dict[str, str]:
    """Return the version pip chooses for each package of ``.[dev]``, by canonical name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), f"{ROOT}[dev]"], check=True, cwd=folder)  # noqa: S603
        installs = json.loads(report.read_text())["install"]
    found = {item["metadata"]["name"]: item["metadata"]["version"] for item in installs}
    canonical = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}
    canonical.pop(OWN_NAME)
    return canonical


def render(versions: dict[str, str]) -> str:
    """Return the text of the lock file, one pinned package a line, sorted by name."""
    lines = (
        f"{name}=={version}" + (' ; platform_system == "Linux"' if LINUX_ONLY.match(name) else "")
        for name, version in sorted(versions.items())
    )
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    LOCK.write_text(render(resolve()))
    sys.stdout.write(f"wrote {LOCK.name}\n")
