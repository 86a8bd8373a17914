"""The one graph of the product: from a stored plan to settled chunks."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from cxr_pipelines.beam.handler import CxrModelHandler
from cxr_pipelines.beam.transforms import CleanAndMeasure, CommitChunk, DecodeChunk, ReadPlan
from cxr_pipelines.elements import Job, SettledChunk
from cxr_pipelines.inference import EngineFactory


def scoring_graph(pipeline: beam.Pipeline, job: Job, engine: EngineFactory) -> beam.PCollection[SettledChunk]:
    """Add the scoring of all unsettled chunks of a run to `pipeline`.

    After the shuffle of `ReadPlan` all is one fused stage: a chunk's films stay in one bundle, no pixels are shuffled,
    and nothing leaves the stage but a summary per chunk, so that a runner which buffers what a stage emits (the local
    one does) needs no more memory for a larger archive.
    """
    handler = CxrModelHandler(engine, job.settings.run.films_at_a_time)
    return (
        pipeline
        | "ReadPlan" >> ReadPlan(job)
        | "DecodeChunk" >> DecodeChunk(job)
        | "RunInference" >> RunInference(handler)
        | "CleanAndMeasure" >> CleanAndMeasure(job)
        | "CommitChunk" >> CommitChunk(job)
    )
