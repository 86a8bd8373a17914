"""Rows follow their schema, hold the measured values, do not depend on the order of films, and fit their budget."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import random
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr_schemas import REJECTS, SCORES, FilmClass, Grade, Reason, View, Windowing
from cxr_schemas.card import GradeCuts, Postprocess
from cxrlib.measuring import localisation, rle
from cxrlib.measuring.masks import clean_masks
from cxrlib.measuring.severity import measure_severity
from cxrlib.results.parquet import parquet_bytes
from cxrlib.results.row_builder import rejects_table, scores_table
from cxrlib.types import ImageRef, Prediction, RejectedFilm, ScoredFilm
from tests.support.paths import REAL_FILMS
from tests.support.scored_films import SIDE, provenance, scored_film

_QUEX = REAL_FILMS / "covid-qu-ex" / "Infection Segmentation Data"


def test_row_holds_the_measured_values() -> None:
    classes = {FilmClass.COVID19: 0.123449, FilmClass.PNEUMONIA: 0.2, FilmClass.NORMAL: 0.676551}
    film = scored_film(classes=classes)
    table = scores_table([film], provenance())
    assert table.schema.equals(SCORES, check_metadata=True)
    row = table.to_pylist()[0]
    assert row["class_label"] == "normal"
    assert row["p_covid19"] == pytest.approx(0.1234)
    assert row["study_date"] == dt.date(2021, 3, 17)
    assert row["lung_px"] == row["lung_left_px"] + row["lung_right_px"] == film.severity.whole.lung_px
    assert row["infection_px"] == row["infection_right_px"] > row["infection_left_px"] == 0
    assert row["percent_infected"] == pytest.approx(100 * row["infection_px"] / row["lung_px"])
    assert row["percent_left"] == 0
    pixel_mm2 = (0.2 * 2500 / SIDE) * (0.1 * 2000 / SIDE)
    assert row["lung_mm2"] == pytest.approx(row["lung_px"] * pixel_mm2)
    assert row["infection_right_mm2"] == pytest.approx(row["infection_px"] * pixel_mm2)
    assert row["infected"] is True
    assert row["grade"] == film.severity.grade == Grade.MILD
    np.testing.assert_array_equal(rle.decode(row["lung_rle"], SIDE, SIDE), film.masks.lung)
    np.testing.assert_array_equal(rle.decode(row["infection_rle"], SIDE, SIDE), film.masks.infection)
    assert (row["row_spacing_mm"], row["column_spacing_mm"]) == pytest.approx((0.2, 0.1))
    assert (row["bundle_name"], row["run_id"]) == ("default", "run-1")
    assert (row["engine"], row["precision"], row["forward_batch"]) == ("openvino", "fp32", 16)


def test_missing_infection_classes_or_spacing_give_nulls() -> None:
    row = scores_table([scored_film(with_infection=False, spacing_mm=None)], provenance()).to_pylist()[0]
    nulls = {name for name, value in row.items() if value is None}
    of_outputs = ("p_", "percent", "localisation")
    expected = {name for name in SCORES.names if "infect" in name or name.startswith(of_outputs)}
    assert nulls == expected | {n for n in SCORES.names if n.endswith("_mm2")} | {
        "grade",
        "class_label",
        "row_spacing_mm",
        "column_spacing_mm",
    }


def test_row_stores_the_localisation_map_of_its_percent() -> None:
    cells = np.zeros((8, 8), np.uint8)
    cells[3:5, 1:3] = 255
    film = scored_film(classes=dict.fromkeys(FilmClass, 1 / 3), cells=cells)
    row = scores_table([film], provenance()).to_pylist()[0]
    drawn = localisation.decode(row["localisation_map"], row["mask_rows"], row["mask_columns"])
    np.testing.assert_array_equal(drawn, localisation.localisation_map(film.prediction))
    lung = rle.decode(row["lung_rle"], SIDE, SIDE)
    assert 0 < row["localisation_percent"] < 100
    assert row["localisation_percent"] == pytest.approx(100 * np.mean(drawn[lung] > 0.5))


def test_equally_probable_classes_give_the_first_on_the_card() -> None:
    for order in (list(FilmClass), list(FilmClass)[::-1]):
        row = scores_table([scored_film(classes=dict.fromkeys(order, 1 / 3))], provenance()).to_pylist()[0]
        assert row["class_label"] == order[0].value


def test_healthy_film_is_not_infected_and_has_percent_zero() -> None:
    row = scores_table([scored_film(infected=False)], provenance()).to_pylist()[0]
    assert (row["infected"], row["percent_infected"], row["grade"], row["infected_regions"]) == (False, 0.0, "none", 0)


_FILMS = [scored_film(f"s3://bucket/{name}.dcm", version=v) for name in "cab" for v in ("etag:2", "etag:1")]


@given(st.permutations(range(len(_FILMS))))
@settings(max_examples=10)
def test_bytes_do_not_depend_on_the_order_of_films(order: list[int]) -> None:
    shuffled = parquet_bytes(scores_table([_FILMS[i] for i in order], provenance()))
    assert shuffled == parquet_bytes(scores_table(_FILMS, provenance()))


def test_rows_are_sorted_by_uri_and_version() -> None:
    table = scores_table(_FILMS, provenance())
    keys = list(zip(table["uri"].to_pylist(), table["version"].to_pylist(), strict=True))
    assert keys == sorted(keys)


def test_parquet_round_trip_keeps_rows_schema_and_descriptions() -> None:
    table = scores_table(_FILMS, provenance())
    read = pq.read_table(io.BytesIO(parquet_bytes(table)))
    assert read.schema.equals(SCORES, check_metadata=True)
    assert read.equals(table)
    assert read.schema.field("percent_infected").metadata[b"unit"] == b"percent"


def test_empty_chunk_is_a_file_without_rows() -> None:
    for table, schema in ((scores_table([], provenance()), SCORES), (rejects_table([], provenance()), REJECTS)):
        read = pq.read_table(io.BytesIO(parquet_bytes(table)))
        assert read.num_rows == 0
        assert read.schema.equals(schema)


def test_reject_row_has_reason_and_retryable() -> None:
    rejects = [
        RejectedFilm(ImageRef("s3://b/z", "etag:1", None, 3), Reason.FETCH_FAILED, "expected bytes; got a timeout"),
        RejectedFilm(ImageRef("s3://b/a", "etag:1", 12), Reason.TRUNCATED, "expected 10 bytes; got 4"),
    ]
    table = rejects_table(rejects, provenance())
    assert table.schema.equals(REJECTS, check_metadata=True)
    first, second = table.to_pylist()
    assert (first["uri"], first["reason"], first["retryable"], first["size"]) == ("s3://b/a", "truncated", False, 12)
    assert (second["retryable"], second["attempt"], second["size"]) == (True, 3, None)
    assert first["message"] == "expected 10 bytes; got 4"


def _stored(path: Path) -> NDArray[np.float32]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return (image / np.float32(255)).astype(np.float32)


def _archive_like(count: int) -> list[ScoredFilm]:
    """Films with real masks, 4 of 5 with COVID-19, and identifiers as long and as random as in an archive."""
    by_class = {name: sorted((_QUEX / "Train" / name / "lung masks").iterdir()) for name in ("COVID-19", "Normal")}
    rng = random.Random(7)
    films = []
    for i in range(count):
        name = "Normal" if i % 5 == 0 else "COVID-19"
        lung_path = by_class[name][i]
        lung = _stored(lung_path)
        infection = _stored(lung_path.parent.parent / "infection masks" / lung_path.name)
        share = sorted((rng.random(), rng.random()))
        classes = dict(zip(FilmClass, (share[0], share[1] - share[0], 1 - share[1]), strict=True))
        predicted = Prediction(lung, infection, classes, "bf16")
        masks = clean_masks(predicted, Postprocess(min_lung_fraction=0.02))
        study, series, sop = (f"1.3.6.1.4.1.14519.5.2.1.7009.2403.{rng.randrange(10**30):030d}" for _ in range(3))
        spacing = rng.choice([0.139, 0.143, 0.148, 0.168, 0.175, 0.194308, 0.2])
        template = scored_film()
        facts = dataclasses.replace(
            template.image.facts,
            sop_instance_uid=sop,
            series_instance_uid=series,
            study_instance_uid=study,
            patient_key=rng.randbytes(32).hex(),
            study_date=dt.date(2018, 1, 1) + dt.timedelta(days=rng.randrange(1500)),
            rows=rng.choice([2022, 2140, 2500, 3056]),
            columns=rng.choice([1760, 2022, 2544]),
            spacing_mm=(spacing, spacing),
            view=rng.choice(list(View)),
        )
        image = dataclasses.replace(
            template.image,
            facts=facts,
            content_digest=rng.randbytes(32).hex(),
            windowing=rng.choice(list(Windowing)),
            clipped_fraction=rng.random() / 10,
        )
        ref = ImageRef(
            f"s3://pacs-archive/{facts.study_date:%Y/%m/%d}/{study}/{sop}.dcm", f"etag:{rng.randbytes(16).hex()}"
        )
        films.append(ScoredFilm(ref, image, predicted, masks, measure_severity(masks, 0.5, GradeCuts())))
    return films


@pytest.mark.skipif(not _QUEX.exists(), reason="needs real masks: covid-qu-ex of the shared data is absent")
def test_million_rows_with_both_masks_take_under_700_mb() -> None:
    scores = parquet_bytes(scores_table(_archive_like(256), provenance()))
    rejects = parquet_bytes(rejects_table([], provenance()))  # every chunk has both objects
    assert (len(scores) + len(rejects)) / 256 * 1_000_000 < 700e6
