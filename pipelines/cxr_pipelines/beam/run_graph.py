"""Run the graph on a runner and wait for its end."""

from __future__ import annotations

import apache_beam as beam

from cxr_pipelines.beam.graph import scoring_graph
from cxr_pipelines.beam.runners import make_runner, managed_job
from cxr_pipelines.elements import RunContext
from cxr_pipelines.engine_factory import EngineFactory
from cxr_pipelines.runner_choice import RunnerChoice
from cxrlib.errors import CxrError, RunError


def run_graph(context: RunContext, engine: EngineFactory, choice: RunnerChoice) -> None:
    """Run the scoring graph on the chosen runner and wait for its end.

    Raises
    ------
    RunError
        The job did not end in the state DONE, or its runner cannot be reached.
    """
    run_id = context.header.run_id
    try:
        with managed_job(choice, run_id, context.results.root) as named:
            beam_runner, options = make_runner(named)
            pipeline = beam.Pipeline(runner=beam_runner, options=options)
            scoring_graph(pipeline, context, engine)
            state = pipeline.run().wait_until_finish()
    except CxrError:
        raise
    except Exception as error:
        if choice.local:
            raise
        # A cluster's runner returns a traceback as text. Its last line names the error.
        got = str(error).strip().rpartition("\n")[2] or type(error).__name__
        raise RunError(f"run {run_id}: expected the job to end DONE on {choice}; got {got}") from error
    if state != "DONE":
        raise RunError(f"run {run_id}: expected the job to end DONE on {choice}; got {state}")
