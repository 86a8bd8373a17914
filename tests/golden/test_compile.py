"""Every architecture compiles whole, and compiled gives what it gives uncompiled (`make test-compile`).

torch.compile traces a network into one graph (``fullgraph=True``: a part that it cannot trace is an error), breaks it
down into the operators that code is generated from, and generates and compiles that code. The last step takes a C++
compiler half a minute to two minutes a network, so it is done for the network that ships and for one of the papers';
of the others the graph is broken down all the same and run operator by operator, which takes seconds.

Compiled code may add in another order, so logits may differ as they may between kernels: see the golden logits, whose
tolerance is kept. Measured are 3e-5 of the logits' standard deviation operator by operator, 6e-5 in generated code.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.golden.test_networks import TOLERANCE
from tests.support.networks import ONE_PER_ARCHITECTURE, Case, set_weights

pytestmark = [pytest.mark.compile, pytest.mark.usefixtures("one_thread")]

#: Traces and breaks down as code generation does, then runs the operators.
OPERATORS = "aot_eager_decomp_partition"
GENERATED = "inductor"
COMPILED = ("multitask-unet", "qu-ex-unet")


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    """Compile anew: neither graphs of other tests nor code of an earlier run are taken up."""
    from torch._inductor.utils import fresh_cache

    torch._dynamo.reset()
    with fresh_cache():
        yield
    torch._dynamo.reset()


def _differences(case: Case, backend: str) -> dict[str, float]:
    """Return the largest difference that compiling makes to each output, in its logits' standard deviations."""
    network = case.build()
    set_weights(network)
    films = torch.from_numpy(case.films())
    compiled = torch.compile(network, backend=backend, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        expected, found = network(films), compiled(films)
    assert found.keys() == expected.keys()
    return {name: float((found[name] - logits).abs().max() / logits.std()) for name, logits in expected.items()}


@pytest.mark.parametrize("case", ONE_PER_ARCHITECTURE, ids=str)
def test_a_network_is_one_graph_whose_operators_give_its_logits(case: Case) -> None:
    assert max(_differences(case, OPERATORS).values()) < TOLERANCE


@pytest.mark.parametrize("case", [case for case in ONE_PER_ARCHITECTURE if case.architecture in COMPILED], ids=str)
def test_the_code_generated_for_a_network_gives_its_logits(case: Case) -> None:
    assert max(_differences(case, GENERATED).values()) < TOLERANCE
