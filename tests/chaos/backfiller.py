"""Work on a backfill until killed: ``python -m tests.chaos.backfiller OUT LOG SECONDS_PER_FILM``."""

from __future__ import annotations

import sys
from pathlib import Path

from cxr_flows.cli.scoring.backfill_progress import backfill_progress
from cxr_pipelines.backfill.progress import ProgressBoard
from cxr_pipelines.backfill.scheduler import run_parts
from cxrlib.backfills.stored import part_states, require_backfill
from cxrlib.results.objects import ResultsRoot
from tests.support.backfills import ScoreInProcess, work_on

if __name__ == "__main__":
    out, log, pause = sys.argv[1:]
    results = ResultsRoot.at(out)
    manifest = require_backfill(results, "b")
    board = ProgressBoard(part_states(results, manifest))
    with backfill_progress() as show:
        run_parts(work_on(manifest, Path(out), parallel=2), board, ScoreInProcess(float(pause), Path(log)), show)
        show(board)
