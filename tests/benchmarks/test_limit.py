"""The minimum cost of a film can be measured for every archive of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.archives import ARCHIVES, make_archive
from tests.benchmarks.compare import LIMITS, limit_cost
from tests.benchmarks.limit import film_cost
from tests.benchmarks.rivals import user_code


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("side", [512, 1100])  # too small to be halved, and large enough for it
def test_cost_of_every_film_of_an_archive_is_measured(name: str, side: int, tmp_path: Path) -> None:
    styles = ARCHIVES[name]
    archive = make_archive(tmp_path, styles, len(styles), side=side)
    costs = [film_cost(Path(path).read_bytes()) for path in user_code.films_in(str(archive))]
    assert len(costs) == len(styles)
    assert all(cost["resize"] > 0 and cost["digest"] > 0 for cost in costs)
    # Native films have nothing to decode; all others have.
    assert sum(cost["codec"] > 0 for cost in costs) == len(styles) - styles.count(ARCHIVES["native"][0])
    assert all(cost[f"{part}_by_libraries"] >= cost[part] for cost in costs for part in ("codec", "resize"))


def test_limit_adds_one_forward_pass_one_codec_one_resize_and_the_digest() -> None:
    parts = {"forward": 1.0, "forward_by_torch": 2.0, "codec": 4.0, "codec_by_libraries": 8.0}
    parts |= {"resize": 16.0, "resize_by_libraries": 32.0, "digest": 64.0}
    assert [limit_cost(limit, parts, 10).cpu_seconds for limit in LIMITS] == [850.0, 1060.0]
