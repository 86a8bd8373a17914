"""The flow that an imaging engineer schedules: score what is new under the sources, check it, and report.

It needs no Prefect server: without one, Prefect runs its own for as long as the flow does. ``cxr nightly`` runs it
once; ``infra/prefect.yaml`` schedules it on a server of yours.
"""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from cxrlib.runs.run import new_run_id
from cxrlib.settings import Settings
from flows.job import ScoreJob
from flows.notices import tag_this_run, tell
from flows.tasks import publish_summary, score_archive, verify_results
from schemas import Manifest


@flow(
    name="nightly",
    log_prints=False,
    validate_parameters=True,
    on_completion=[tell],
    on_failure=[tell],
    on_crashed=[tell],
)
def nightly(
    sources: Annotated[list[str], Field(min_length=1)],
    out: str,
    *,
    bundle: str | None = None,
    run_id: str | None = None,
    resume: bool = False,
    runner: str = "local",
    beam_options: list[str] | None = None,
    wait_s: Annotated[float, Field(ge=0)] | None = None,
    retries: Annotated[int, Field(ge=0, le=20)] = 2,
    timeout_s: Annotated[float, Field(gt=0)] | None = None,
    notify: list[str] | None = None,
    notify_of_success: bool = False,
    debug: bool = False,
) -> Manifest:
    """Score every film under `sources` that is not settled in the results root `out`.

    Parameters
    ----------
    sources : list of str
        fsspec URIs: folders, prefixes, globs or inventory files.
    out : str
        URI of the results root.
    bundle : str, optional
        Model bundle; all other settings come from ``CXR_`` environment variables.
    run_id : str, optional
        Id of the run; with `resume`, the run to take up again.
    runner : str
        ``local``, ``local:N`` for N worker processes, or a runner of Beam with its `beam_options`.
    wait_s : float, optional
        Seconds to wait for another run into `out` to end; as the settings say where it is not given (they say: leave).
    retries : int
        How often a run that fell is taken up again, by its id.
    timeout_s : float, optional
        Seconds that one try may take; then it is ended, and counts as one that fell.
    notify : list of str, optional
        Notification blocks of the server to tell of a failure, such as ``custom-webhook/ops`` or
        ``sendgrid-email/imaging``.
    notify_of_success : bool
        Tell them of a run that closed, too.
    debug : bool
        Write the traceback of a failure to the log of the process that scores.

    Returns
    -------
    Manifest
        Of the closed run. Single films that failed are in its counts; they do not fail the flow.
    """
    settings = Settings() if bundle is None else Settings(bundle=bundle)
    if wait_s is not None:
        settings = settings.model_copy(update={"run": settings.run.model_copy(update={"lease_wait_s": wait_s})})
    job = ScoreJob.of(
        settings,
        sources=tuple(sources),
        out=out,
        run_id=run_id or new_run_id(),
        resume=resume,
        runner=runner,
        beam_options=tuple(beam_options or ()),
        debug=debug,
    )
    tag_this_run(f"run:{job.run_id}")
    manifest = score_archive.with_options(retries=retries, timeout_seconds=timeout_s)(job)
    tag_this_run(f"bundle:{manifest.bundle_digest[:8]}")
    publish_summary(manifest, out)
    verify_results(out)
    return manifest
