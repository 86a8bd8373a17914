"""The flow that an imaging engineer schedules: score what is new under the sources, check it, and report.

It needs no Prefect server: without one, Prefect runs its own for as long as the flow does. ``cxr nightly`` runs it
once; ``infra/prefect.yaml`` schedules it on a server of yours. A flow's parameters are described as Prefect reads them
for the form in its UI: below ``Args:``.
"""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from cxr_flows.notifications import tag_this_run, tell
from cxr_flows.tasks import publish_summary, score_archive, verify_results
from cxr_pipelines.jobs.job import ScoreJob
from cxr_schemas import Manifest
from cxrlib.runs.run_id import new_run_id
from cxrlib.settings import Settings


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

    Args:
        sources: fsspec URIs: folders, prefixes, globs or inventory files.
        out: URI of the results root.
        bundle: Model bundle; all other settings come from ``CXR_`` environment variables.
        run_id: Id of the run; made up where it is not given.
        resume: Take the run `run_id` up again.
        runner: ``local``, ``local:N`` for N worker processes, or a runner of Beam: ``flink``, ``spark``,
            ``dataflow``.
        beam_options: Options of Beam's runner, such as ``--flink_master=flink:8081``.
        wait_s: Seconds to wait for another run into `out` to end; as the settings say where it is not given
            (they say: leave).
        retries: How often a run that fell is taken up again, by its id.
        timeout_s: Seconds that one try may take; then it is ended, and counts as one that fell.
        notify: Notification blocks of the server to tell of a failure, such as ``custom-webhook/ops`` or
            ``sendgrid-email/imaging``.
        notify_of_success: Tell them of a run that closed, too.
        debug: Write the traceback of a failure to the log of the process that scores.

    Returns:
        The manifest of the closed run. Single films that failed are in its counts; they do not fail the flow.
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
