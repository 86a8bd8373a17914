"""One process that works on a backfill, to be killed: ``python -m tests.chaos.backfiller OUT LOG SECONDS_PER_FILM``."""

from __future__ import annotations

import sys
from pathlib import Path

from cxr_flows.cli.scoring.parts_table import parts_shown
from cxr_pipelines.backfill.progress import Board
from cxr_pipelines.backfill.scheduler import work_off
from cxrlib.backfills.stored import part_states, require_backfill
from cxrlib.results.objects import Store
from tests.support.backfills import InProcess, work_on

if __name__ == "__main__":
    out, log, pause = sys.argv[1:]
    store = Store.at(out)
    manifest = require_backfill(store, "b")
    board = Board(part_states(store, manifest))
    with parts_shown() as show:
        work_off(work_on(manifest, Path(out), parallel=2), board, InProcess(float(pause), Path(log)), show)
        show(board)
