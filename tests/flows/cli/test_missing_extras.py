"""Commands without the libraries of an extra: the base reads results, and the others say which extra to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import COMMANDS, main
from cxr_schemas import Reason
from cxrlib.phantom.archive import write_archive
from tests.support.results_roots import NEW_BUNDLE, OLD_BUNDLE, write_run
from tests.support.without_modules import OPTIONAL, TORCH, cxr_without, python_without


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two phantoms, an inventory of a bucket, and a results root with rows of two bundles."""
    made = tmp_path_factory.mktemp("extras")
    write_archive(str(made / "phantoms"), 2, rows=192, columns=192, masks=True, workers=1)
    (made / "list.csv").write_text("uri,size\ns3://bucket/film,100\n")
    for run_id, bundle in (("a", OLD_BUNDLE), ("b", NEW_BUNDLE)):
        write_run(made / "results", {"1": 1, "2": 2, "bad": Reason.TRUNCATED}, run_id=run_id, bundle=bundle)
    return made


#: Commands of the base, run one after another in one process.
_OF_BASE = (
    "--help",
    "--version",
    "status results",
    "status results --json",
    "verify results",
    "compact results --out compacted",
    f"compare results --bundles {OLD_BUNDLE.partition} {NEW_BUNDLE.partition}",
    "models list",
    "models show default",
    "train --list",
    "train --encoders",
    *(f"{command} --help" for command in COMMANDS),
)


def test_base_reads_results(folder: Path) -> None:
    code = f"""
import sys
from cxr_flows.cli.main import main
for command in {_OF_BASE}:
    print("\\n>", command, main(command.split()))
print("optional:", *sorted({set(OPTIONAL)} & sys.modules.keys()))
"""
    done = python_without(OPTIONAL, "-c", code, folder=folder)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("> ")] == [f"> {command} 0" for command in _OF_BASE], done.stderr
    assert lines[-1] == "optional:"


def test_base_loads_the_table_and_its_masks(folder: Path) -> None:
    code = """
import sys, cxrlib.cohort
from cxrlib.measuring import rle
films = cxrlib.cohort.load("results", bundle=sys.argv[1])
film = films.iloc[0]
print(len(films), int(rle.decode(film.lung_rle, film.mask_rows, film.mask_columns).sum()) == film.lung_px)
"""
    done = python_without(OPTIONAL, "-c", code, OLD_BUNDLE.partition, folder=folder)
    assert done.stdout.split() == ["2", "True"], done.stderr


def _needs(what: str, library: str, extra: str) -> str:
    return f"cxr: {what} needs {library}, which is not installed; in a clone of cxr: pip install '.[{extra}]'\n"


@pytest.mark.parametrize(
    "case",
    [
        ("score films --out new", "apache_beam", _needs("cxr score", "apache-beam", "score")),
        ("score films --out new", "imagecodecs", _needs("cxr score", "imagecodecs", "score")),
        ("rescore results --bundle default", "openvino", _needs("cxr rescore", "openvino", "score")),
        ("backfill films --out new", "cv2", _needs("cxr backfill", "opencv-python-headless", "score")),
        ("backfill resume b --out new", "cv2", _needs("cxr backfill", "opencv-python-headless", "score")),
        ("phantom --count 1 --out drawn", "pydicom", _needs("cxr phantom", "pydicom", "score")),
        ("evaluate default phantoms", "scipy", _needs("cxr evaluate", "scipy", "score")),
        ("evaluate default phantoms --report r", "sklearn", _needs("cxr evaluate --report", "scikit-learn", "train")),
        ("train default --data . --out new", "lightning", _needs("cxr train", "lightning", "train")),
        ("train default --data . --out new", "torch", _needs("cxr train", "torch", "train")),
        ("nightly films --out new", "prefect", _needs("cxr nightly", "prefect", "flows")),
        ("nightly films --out new", "apache_beam", _needs("cxr nightly", "apache-beam", "flows")),
        ("demo --out new", "moto", _needs("cxr demo", "moto", "demo")),
    ],
    ids=lambda case: f"{case[0]} without {case[1]}",
)
def test_command_says_which_extra_it_lacks(
    case: tuple[str, str, str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, missing, message = case
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(arguments.split()) == Exit.USAGE
    assert capsys.readouterr().err == message
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "missing", "message"),
    [
        ("status s3://bucket", "s3fs", _needs("s3://bucket", "s3fs", "s3")),
        ("verify gs://bucket", "gcsfs", _needs("gs://bucket", "gcsfs", "gcs")),
        ("compact abfs://bucket --out new", "adlfs", _needs("abfs://bucket", "adlfs", "azure")),
        ("models show http://127.0.0.1:1/a", "aiohttp", _needs("http://127.0.0.1:1/a", "aiohttp", "score")),
        ("phantom --count 1 --out s3://bucket", "s3fs", _needs("s3://bucket", "s3fs", "s3")),
    ],
)
def test_store_without_its_extra_is_named(folder: Path, arguments: str, missing: str, message: str) -> None:
    done = cxr_without([missing], *arguments.split(), folder=folder)
    assert (done.returncode, done.stderr) == (Exit.USAGE, message)


@pytest.mark.parametrize(
    ("arguments", "missing", "message"),
    [
        ("s3://bucket --out lists", "s3fs", _needs("s3://bucket", "s3fs", "s3")),
        ("inventory:gs://b/list.csv --out lists", "gcsfs", _needs("inventory:gs://b/list.csv", "gcsfs", "gcs")),
        ("phantoms/films --out s3://bucket", "s3fs", _needs("s3://bucket", "s3fs", "s3")),
        (
            "phantoms/films --out on-dataflow --runner dataflow",
            "google.cloud.dataflow",
            _needs("the runner dataflow", "google-cloud-dataflow-client", "cluster"),
        ),
    ],
)
def test_error_of_the_scoring_process_has_the_same_words(
    folder: Path, arguments: str, missing: str, message: str
) -> None:
    done = cxr_without([missing], "score", "--quiet", *arguments.split(), folder=folder)
    assert (done.returncode, done.stderr) == (Exit.USAGE, message)


def test_object_in_a_store_without_its_extra_is_rejected_with_its_name(folder: Path) -> None:
    done = cxr_without(["s3fs"], "score", "--quiet", "list.csv", "--out", "listed", folder=folder)
    assert done.returncode == Exit.RETRYABLE, done.stderr
    code = "import pandas; print(*pandas.read_parquet('listed/rejects').message)"
    assert "pip install '.[s3]'" in python_without((), "-c", code, folder=folder).stdout


@pytest.mark.parametrize("more", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_score_runs_the_default_bundle_without_torch(folder: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    films, out = str(folder / "phantoms" / "films"), str(tmp_path / "out")
    done = cxr_without(TORCH, "score", films, "--out", out, "--quiet", *more)
    assert done.returncode == 0, done.stderr
    assert "2 scored" in done.stdout


@pytest.mark.parametrize(
    ("command", "setting", "what"),
    [
        ("score phantoms/films --out torch --quiet", "ENGINE=torch", "the engine torch"),
        ("score phantoms/films --out torch --quiet --workers 2", "DEVICE=cuda:0", "the device cuda:0"),
        ("nightly phantoms/films --out torch", "ENGINE=torch", "the engine torch"),
        ("evaluate default phantoms --split all", "DEVICE=cuda", "the device cuda"),
    ],
)
def test_network_that_needs_torch_says_so(
    command: str, setting: str, what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(folder / "prefect"))
    name, value = setting.split("=")
    done = cxr_without(TORCH, *command.split(), folder=folder, environment={f"CXR_RUN__{name}": value})
    assert done.returncode == Exit.USAGE, done.stderr
    assert done.stderr.endswith(_needs(what, "torch", "gpu"))
    assert "Traceback" not in done.stderr


def test_measure_a_bundle_without_torch(folder: Path) -> None:
    done = cxr_without(TORCH, "evaluate", "default", "phantoms", "--split", "all", folder=folder)
    assert done.returncode == 0, done.stderr
