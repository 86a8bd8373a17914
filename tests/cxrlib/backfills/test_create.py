"""Creation of a backfill: inventories of its parts, and a manifest without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_schemas import Cut
from cxrlib.archive.listing import list_sources
from cxrlib.backfills import stored
from cxrlib.backfills.create import BackfillRequest, check_settings, start_backfill, stored_settings
from cxrlib.errors import RunError, UsageError
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.settings import PrivacySettings, ReadSettings, Settings
from tests.support.fakes import fake_bundle, fake_settings
from tests.support.small_archives import write_films


def test_inventories_hold_the_listed_objects_with_their_versions(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path / "out"))
    archive = str(write_films(tmp_path / "in", good=6))
    request = BackfillRequest("b1", (archive,), Cut(part_size=4), fake_settings(), runner="local:2")
    manifest = start_backfill(results, request, fake_bundle())
    assert stored.require_backfill(results, "b1") == manifest
    assert [entry.objects for entry in manifest.parts] == [4, 4, 2]
    inventories = [results.uri(layout.inventory_key("b1", entry.part)) for entry in manifest.parts]
    held = list(list_sources(inventories))
    assert sorted(held) == sorted(list_sources([archive]))
    assert sum(ref.size or 0 for ref in held) == manifest.bytes
    with pytest.raises(UsageError, match="exists already"):
        start_backfill(results, request, fake_bundle())


def test_interrupted_creation_is_repeated(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path / "out"))
    results.put(layout.inventory_key("b1", "p0001"), b"half of it")
    request = BackfillRequest("b1", (str(write_films(tmp_path / "in", good=2)),), Cut(), fake_settings())
    (part,) = start_backfill(results, request, fake_bundle()).parts
    assert len(list(list_sources([results.uri(layout.inventory_key("b1", part.part))]))) == part.objects


def test_manifest_does_not_hold_the_key_and_another_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the site's secret")
    keyed = Settings(privacy=PrivacySettings(key_file=tmp_path / "key"))
    results = ResultsRoot.at(str(tmp_path / "out"))
    manifest = start_backfill(
        results, BackfillRequest("b1", (str(write_films(tmp_path / "in", good=1)),), Cut(), keyed), fake_bundle()
    )
    text = manifest.model_dump_json()
    assert "secret" not in text
    assert str(tmp_path / "key") not in text
    check_settings(manifest, keyed, fake_bundle())
    with pytest.raises(RunError, match=r"settings .* got"):
        check_settings(manifest, Settings(**manifest.settings), fake_bundle())
    with pytest.raises(RunError, match="started with bundle"):
        check_settings(manifest, keyed, fake_bundle(1))


def test_settings_come_back_as_they_were_stored() -> None:
    settings = Settings(read=ReadSettings(min_side=99))
    assert Settings(**stored_settings(settings)) == settings
