"""Run the graph on a runner and wait for its end."""

from __future__ import annotations

import apache_beam as beam

from cxr_pipelines.beam.graph import scoring_graph
from cxr_pipelines.beam.runners import attended, make_runner
from cxr_pipelines.elements import Job
from cxr_pipelines.inference import EngineFactory
from cxr_pipelines.runner_choice import RunnerChoice
from cxrlib.errors import CxrError, RunError


def run_graph(job: Job, engine: EngineFactory, choice: RunnerChoice) -> None:
    """Run the scoring graph on the chosen runner and wait for its end.

    Raises
    ------
    RunError
        The job ended in another state than done, or its runner cannot be reached.
    """
    try:
        with attended(choice, job.header.run_id, job.store.root) as named:
            beam_runner, options = make_runner(named)
            pipeline = beam.Pipeline(runner=beam_runner, options=options)
            scoring_graph(pipeline, job, engine)
            state = pipeline.run().wait_until_finish()
    except CxrError:
        raise
    except Exception as error:
        if choice.local:
            raise
        # What a runner elsewhere tells is the text of a traceback; its last line says what was wrong.
        got = str(error).strip().rpartition("\n")[2] or type(error).__name__
        raise RunError(f"run {job.header.run_id}: expected the job to end DONE on {choice}; got {got}") from error
    if state != "DONE":
        raise RunError(f"run {job.header.run_id}: expected the job to end DONE on {choice}; got {state}")
