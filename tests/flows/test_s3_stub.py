"""The S3 stub: clients find it through the environment, which is restored at the end."""

from __future__ import annotations

import os

import fsspec
import pytest

from cxr_flows.demo.s3_stub import s3_stub


def test_bucket_is_reached_by_its_uri_and_lists_content_etags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "the-users-own")
    before = dict(os.environ)
    with s3_stub("films") as uri:
        assert uri == "s3://films"
        assert "AWS_PROFILE" not in os.environ, "the demo must not use the user's account"
        with fsspec.open(f"{uri}/a/film.dcm", "wb") as file:
            file.write(b"abc")
        filesystem, root = fsspec.core.url_to_fs(uri)
        (listed,) = filesystem.find(root, detail=True).values()
    assert listed["ETag"].strip('"') == "900150983cd24fb0d6963f7d28e17f72"
    assert dict(os.environ) == before


def test_second_stub_starts_empty() -> None:
    for _ in range(2):
        with s3_stub("films") as uri:
            filesystem, root = fsspec.core.url_to_fs(uri)
            assert filesystem.find(root) == []
            filesystem.pipe_file(f"{root}/left-behind", b"abc")
