"""The Beam graph that scores a run: from a stored plan to settled chunks."""

from __future__ import annotations

import apache_beam as beam

from cxr_pipelines.beam.transforms import CleanAndMeasure, CommitChunk, DecodeChunk, Predict, ReadPlan
from cxr_pipelines.elements import RunContext, SettledChunk
from cxr_pipelines.engine_factory import EngineFactory


def scoring_graph(
    pipeline: beam.Pipeline, context: RunContext, engine: EngineFactory
) -> beam.PCollection[SettledChunk]:
    """Add the steps that score all unsettled chunks of a run to `pipeline`.

    All steps after the shuffle of `ReadPlan` are one fused stage: the films of a chunk stay in one Beam bundle, and no
    pixels are shuffled. The stage emits only one summary per chunk. A runner that buffers the output of a stage, as
    the local one does, therefore needs no more memory for a larger archive.
    """
    return (
        pipeline
        | "ReadPlan" >> ReadPlan(context)
        | "DecodeChunk" >> DecodeChunk(context)
        | "Predict" >> Predict(engine, context.settings.run.films_at_a_time)
        | "CleanAndMeasure" >> CleanAndMeasure(context)
        | "CommitChunk" >> CommitChunk(context)
    )
