"""A Flink session cluster through its REST interface: its version, and the jobs of a run.

A job on Flink outlives the process that submitted it, and Beam's job server may die before the job. So each job is
named after its run and found by that name: to cancel it when its process ends, and to cancel a job that a killed
process left behind before the run is resumed. (REST API of Flink 1.19: /config, /jobs/overview, PATCH /jobs/:id.)
"""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final

from cxrlib.errors import RunError, UsageError

_TIMEOUT_S: Final = 3.0
#: Time limit to cancel a job; its workers have 5 s of it to end (`cxr_pipelines.beam.pool`).
_CANCEL_S: Final = 30.0
_POLL_S: Final = 0.2
_ENDED: Final = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})


@dataclass(frozen=True, slots=True)
class FlinkCluster:
    """A session cluster.

    Attributes
    ----------
    master : str
        ``host:port`` of the job manager's REST interface; ``http://`` or ``https://`` may precede it.
    """

    master: str

    def version(self) -> str:
        """Return the cluster's version in Beam's form, such as ``1.19``.

        Raises
        ------
        UsageError
            No Flink answers at the address.
        """
        return ".".join(str(self._call("/config")["flink-version"]).split(".")[:2])

    def jobs(self, name: str) -> list[str]:
        """Return the ids of the jobs named `name` that have not ended.

        Raises
        ------
        UsageError
            No Flink answers at the address.
        """
        jobs = self._call("/jobs/overview")["jobs"]
        return [str(job["jid"]) for job in jobs if job["name"] == name and job["state"] not in _ENDED]

    def cancel(self, name: str, *, wait: bool = True) -> None:
        """Cancel the jobs named `name`; with `wait`, wait until they have ended.

        Raises
        ------
        UsageError
            No Flink answers at the address.
        RunError
            A job still runs after the time limit.
        """
        for identifier in self.jobs(name):
            self._call(f"/jobs/{identifier}?mode=cancel", method="PATCH")
        deadline = time.monotonic() + _CANCEL_S
        while wait and (left := self.jobs(name)):
            if time.monotonic() > deadline:
                raise RunError(f"expected the jobs {name} to be cancelled within {_CANCEL_S:.0f} s; got {left}")
            time.sleep(_POLL_S)

    def abandon(self, name: str) -> None:
        """Cancel the jobs named `name` without waiting and without errors, for a process that is about to end."""
        with suppress(UsageError):
            self.cancel(name, wait=False)

    def has_ended(self, name: str) -> bool:
        """Whether no job named `name` runs any more; False if the cluster does not answer."""
        try:
            return not self.jobs(name)
        except UsageError:
            return False

    def _call(self, path: str, method: str = "GET") -> Any:
        base = self.master if "://" in self.master else f"http://{self.master}"
        request = urllib.request.Request(base.rstrip("/") + path, method=method)  # noqa: S310 - the site's own address
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                return json.loads(answer.read() or b"{}")
        except (OSError, HTTPException, ValueError) as error:
            got = str(getattr(error, "reason", error)) or type(error).__name__
            raise UsageError(f"expected a Flink job manager at {self.master}; got {got}") from error
