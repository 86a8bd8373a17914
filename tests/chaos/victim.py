"""Score an archive until killed: ``python -m tests.chaos.victim IN OUT LOG SECONDS_PER_FILM``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.chaos.test_kill import RUN_ID, SETTINGS
from tests.support.fakes import FakeEngineFactory
from tests.support.small_archives import score_films

if __name__ == "__main__":
    source, out, log, pause = sys.argv[1:]
    score_films(source, out, SETTINGS, run_id=RUN_ID, resume=True, engine=FakeEngineFactory(Path(log), float(pause)))
