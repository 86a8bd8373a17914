"""Write the versions that `make` installs: requirements.lock for everything, requirements-demo.lock for the demo.

``python .ci/lock.py`` asks pip once what it would install for ``.[dev]`` and writes name and version alone: no
addresses and no hashes, so that any index or mirror serves. The demo's file holds those of the same versions that the
extra ``demo`` needs. Versions in requirements.lock stay, unless pyproject.toml no longer allows them; ``--upgrade``
chooses all versions again. Run by ``make lock``; needs nothing but pip.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
EVERYTHING: Final = ROOT / "requirements.lock"
DEMO: Final = ROOT / "requirements-demo.lock"
OWN_NAME: Final = "cxr-batch"
#: Parts of CUDA that torch pulls in on Linux only; elsewhere they do not exist and the lock must still install.
LINUX_ONLY: Final = re.compile(r"(nvidia-|cuda-|triton$)")
HEADER: Final = """\
# Exact versions of everything that {use} needs; made by `make lock`, for Python 3.11 and later.
"""


def pinned() -> list[str]:
    """Return the lines of the present lock, without comments."""
    lines = EVERYTHING.read_text().splitlines() if EVERYTHING.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


def resolve(build: list[str], constraints: list[str]) -> dict[str, dict[str, Any]]:
    """Return the metadata of each package that pip chooses for ``.[dev]`` and for the build, by canonical name."""
    with tempfile.TemporaryDirectory() as folder:
        report, present = Path(folder) / "report.json", Path(folder) / "constraints.txt"
        present.write_text("\n".join(constraints))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--constraint", str(present), "--report", str(report), *build, f"{ROOT}[dev]"]
        subprocess.run(command, check=True, cwd=folder)  # noqa: S603
        installs = json.loads(report.read_text())["install"]
    return {canonicalize_name(item["metadata"]["name"]): item["metadata"] for item in installs}


def needed(packages: dict[str, dict[str, Any]], roots: list[str]) -> set[str]:
    """Return the names of `packages` that the requirements `roots` need here, their own needs included."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    pending = [Requirement(root) for root in roots]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        found.add(name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            further = map(Requirement, packages[name].get("requires_dist", ()))
            pending += [each for each in further if each.marker is None or each.marker.evaluate({"extra": extra})]
    return found - {OWN_NAME}


def render(versions: dict[str, str], use: str) -> str:
    """Return the text of a lock file, one pinned package a line, sorted by name."""
    lines = (
        f"{name}=={version}" + (' ; platform_system == "Linux"' if LINUX_ONLY.match(name) else "")
        for name, version in sorted(versions.items())
    )
    return HEADER.format(use=use) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    build_needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    chosen = resolve(build_needs, [] if "--upgrade" in sys.argv[1:] else pinned())
    all_versions = {name: metadata["version"] for name, metadata in chosen.items() if name != OWN_NAME}
    of_demo = needed(chosen, [f"{OWN_NAME}[demo]", *build_needs])
    EVERYTHING.write_text(render(all_versions, "this project"))
    DEMO.write_text(render({name: all_versions[name] for name in of_demo}, "`make demo`"))
    sys.stdout.write(f"wrote {EVERYTHING.name} and {DEMO.name}\n")
