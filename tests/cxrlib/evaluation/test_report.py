"""The report: its contents, that it is self-contained, and that the same films give the same bytes."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr_schemas import FilmClass, Reason
from cxrlib.datasets import read_dataset
from cxrlib.errors import FilmError
from cxrlib.evaluation import (
    EvaluatedDataset,
    Evaluation,
    FilmResult,
    SourceNote,
    evaluate,
    json_text,
    measure_figures,
)
from cxrlib.evaluation.measured_figures import columns_by_source
from cxrlib.evaluation.report import tables
from cxrlib.evaluation.report.html_report import render_html, write_report
from cxrlib.evaluation.report.worst_films import MAX_PER_SOURCE, RANKINGS, draw_worst_films, worst_films
from cxrlib.measuring.metrics import PixelCounts
from cxrlib.phantom.archive import ImageFormat, write_archive
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, Prediction
from tests.cxrlib.evaluation.test_figures import films, rejected, without
from tests.support.labelled_films import phantom
from tests.support.tiny_bundles import tiny_bundle


def evaluation_of(results: Sequence[FilmResult], notes: tuple[str, ...] = ()) -> Evaluation:
    bundle = tiny_bundle()
    return Evaluation(
        bundle=bundle,
        split="test",
        precision="fp32",
        device="cpu",
        software_version="1.2.3",
        datasets=(EvaluatedDataset("made-up", "CSV", len(results), 500, notes),),
        results=tuple(results),
        measured=tuple(measure_figures(results, bundle.card, resamples=50)),
    )


@pytest.fixture(scope="module")
def whole() -> Evaluation:
    return evaluation_of(
        [*films(60, groups=30), *map(rejected, films(3, seed=8))], ("no <infection> masks & no extent",)
    )


@pytest.fixture(scope="module")
def report(whole: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(whole, {}, folder)
    return folder


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return (report / "report.html").read_text(encoding="utf-8")


def test_page_names_bundle_films_rejects_and_notes(whole: Evaluation, page: str) -> None:
    assert whole.bundle.digest in page
    assert "63 of split <b>test</b>, 3 of them rejected" in page
    assert Reason.NO_LUNG.description in page
    assert "no &lt;infection&gt; masks &amp; no extent" in page
    assert page.count("not a medical device") == 1


def test_page_is_self_contained(page: str) -> None:
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(pictures) >= 7
    for data in pictures:
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert decoded.std() > 5


def test_every_figure_is_in_the_page_and_in_the_json(whole: Evaluation, page: str) -> None:
    document = json.loads(json_text(whole))
    names = {item.figure.name for item in whole.measured}
    assert {figure["figure"] for figure in document["figures"]} == names
    assert [name for name in names if f"<th>{name.replace('>', '&gt;')}</th>" not in page] == []
    dice = next(figure for figure in document["figures"] if figure["figure"] == "lung Dice")
    assert dice["interval"][0] < dice["value"] < dice["interval"][1]
    assert dice["bootstrap"][0] < dice["value"] < dice["bootstrap"][1]
    assert (dice["films"], dice["groups"]) == (63, 30)
    assert document["rejected"] == {Reason.NO_LUNG.value: 3}


def test_same_films_give_the_same_bytes(whole: Evaluation, report: Path, tmp_path: Path) -> None:
    write_report(whole, {}, tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["figures.json", "films.csv", "report.html"]
    for name in written:
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes()


def test_films_csv_has_one_row_per_film(report: Path) -> None:
    table = pd.read_csv(report / "films.csv")
    assert len(table) == 63
    assert table["rejected"].notna().sum() == 3
    assert table.loc[table["rejected"].notna(), "lung_dice"].tolist() == [0, 0, 0]
    assert table["p_covid19"].between(0, 1).sum() == 60


def test_page_of_a_lung_only_bundle_states_what_is_not_measured() -> None:
    lungs = without("classes")
    lungs = lungs.model_copy(update={"networks": (lungs.networks[0].model_copy(update={"outputs": ("lung",)}),)})
    results = [dataclasses.replace(result, probabilities=None, infection=None, percent=None) for result in films(20)]
    evaluation = dataclasses.replace(
        evaluation_of(results),
        bundle=dataclasses.replace(tiny_bundle(), card=lungs),
        measured=tuple(measure_figures(results, lungs, resamples=20)),
    )
    page = render_html(evaluation, {})
    assert "gives no infection masks" in page
    assert "gives no classes" in page
    assert page.count("data:image/png") == 1


def test_page_warns_about_training_films() -> None:
    few = evaluation_of(films(5))
    assert "how it performs on unseen films" in render_html(dataclasses.replace(few, split="train"), {})
    assert "how it performs on unseen films" not in render_html(few, {})


def test_notes_on_the_labels_of_each_source_are_shown_or_marked_as_missing() -> None:
    few = evaluation_of(films(5))
    note = SourceNote(films="made up", labels="worth <nothing>")
    page = render_html(dataclasses.replace(few, notes={"made-up": note, "elsewhere": note}), {})
    assert page.count("worth &lt;nothing&gt;") == 1
    assert "elsewhere" not in page
    assert "No notes." in render_html(dataclasses.replace(few, notes={"elsewhere": note}), {})
    assert "Quality of the labels" not in render_html(few, {})


def test_source_table_counts_films_by_label() -> None:
    results = films(30)
    table = tables.source_table(columns_by_source(results))
    ((source, cells),) = table.rows
    by_column = dict(zip(table.head[1:], cells, strict=True))
    assert (source, by_column["films"]) == ("made-up", tables.Cell("30"))
    for film_class, name in ((FilmClass.COVID19, "COVID-19"), (FilmClass.NORMAL, "Normal")):
        assert by_column[name] == tables.Cell(str(sum(film.sample.film_class is film_class for film in results)))
    assert by_column["extent"] is None


def test_worst_films_come_first_and_are_limited_per_source() -> None:
    results = films(40)
    lung, infection, percent, wrong = (worst_films(results, ranking) for ranking in RANKINGS)
    assert len(lung) == len(infection) == len(percent) == MAX_PER_SOURCE
    worst = min(result.lung_dice for result in results if result.lung_dice is not None)
    assert lung[0].lung_dice == worst
    assert all(result.truth.infected for result in infection)
    assert all(result.film_class is not result.sample.film_class for result in wrong)
    assert not worst_films(list(map(rejected, results)), RANKINGS[0])


def test_worst_films_are_drawn_beside_their_true_masks(tmp_path: Path) -> None:
    write_archive(str(tmp_path), 3, rows=128, masks=True, workers=1, styles=(ImageFormat.PNG_8,))
    samples = read_dataset(tmp_path)
    card = tiny_bundle().card

    def predict(images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        found = np.asarray(phantom(0).lung, dtype=np.float32)
        classes = {FilmClass.COVID19: 0.8, FilmClass.PNEUMONIA: 0.1, FilmClass.NORMAL: 0.1}
        return [Prediction(found, np.zeros_like(found), classes, "fp32") for _ in images]

    results = evaluate(samples, predict, card)
    pictures = draw_worst_films(results, predict, card, Settings())
    assert next(iter(pictures)) == RANKINGS[0].title
    for shown in pictures.values():
        for picture in shown:
            decoded = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert decoded.shape == (340, 2 * 340 + 6, 3)
            left, right = decoded[:, :340].astype(int), decoded[:, 346:].astype(int)
            assert np.abs(left - right).mean() > 0.5
    page = render_html(evaluation_of(results), pictures)
    assert page.count("data:image/jpeg") == sum(map(len, pictures.values()))
    assert results[0].lung is not None
    assert PixelCounts(1, 0, 0, 0) != results[0].lung
