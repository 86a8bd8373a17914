"""`cxr train` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import main


def test_a_terminated_training_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def terminate(*_: object, **__: object) -> NoReturn:
        raise SystemExit(0)  # as Lightning does on SIGTERM

    monkeypatch.setattr("cxrlib.training.train.train", terminate)
    code = main(["train", "default", "--data", str(tmp_path), "--out", str(tmp_path / "bundle")])
    assert code == Exit.COULD_NOT_RUN
    assert "the training was terminated" in capsys.readouterr().err
