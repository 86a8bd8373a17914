"""torch.compile compiles every architecture into one graph, with the same logits (`make test-compile`).

torch.compile traces a network into one graph (``fullgraph=True``: a part that it cannot trace is an error), decomposes
it into basic operators, and generates and compiles code for them. The last step takes a C++ compiler 30 s to two
minutes per network, so it runs only for the network that ships and for one of the papers. The other graphs are
decomposed and run operator by operator, which takes seconds.

Compiled code may add in another order, so logits may differ as they do between kernels. The tolerance is that of the
golden logits. Measured: 3e-5 of the logits' standard deviation operator by operator, 6e-5 in generated code.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.golden.test_networks import TOLERANCE
from tests.support.networks import ONE_PER_ARCHITECTURE, Case, set_weights

pytestmark = [pytest.mark.compile, pytest.mark.usefixtures("one_thread")]

#: Traces and decomposes as code generation does, then runs the operators.
OPERATORS = "aot_eager_decomp_partition"
GENERATED = "inductor"
COMPILED = ("multitask-unet", "qu-ex-unet")


@pytest.fixture(autouse=True)
def _empty_compile_cache() -> Iterator[None]:
    """Compile from scratch: reuse neither graphs of other tests nor code of an earlier run."""
    from torch._inductor.utils import fresh_cache

    torch._dynamo.reset()
    with fresh_cache():
        yield
    torch._dynamo.reset()


def _differences(case: Case, backend: str) -> dict[str, float]:
    """Return the largest difference between compiled and plain logits, by output, in standard deviations."""
    network = case.build()
    set_weights(network)
    films = torch.from_numpy(case.films())
    compiled = torch.compile(network, backend=backend, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        expected, found = network(films), compiled(films)
    assert found.keys() == expected.keys()
    return {name: float((found[name] - logits).abs().max() / logits.std()) for name, logits in expected.items()}


@pytest.mark.parametrize("case", ONE_PER_ARCHITECTURE, ids=str)
def test_a_network_compiles_to_one_graph_with_the_same_logits(case: Case) -> None:
    assert max(_differences(case, OPERATORS).values()) < TOLERANCE


@pytest.mark.parametrize("case", [case for case in ONE_PER_ARCHITECTURE if case.architecture in COMPILED], ids=str)
def test_generated_code_gives_the_same_logits(case: Case) -> None:
    assert max(_differences(case, GENERATED).values()) < TOLERANCE
