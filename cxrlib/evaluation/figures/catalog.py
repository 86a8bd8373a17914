"""Every figure that a bundle is measured by.

A film that was rejected counts as nothing found, as a wrong class, as lungs not found, and as neither called infected
nor cleared. Only what cannot be said of it (a ROC area, a calibration error, a difference in percent) is of the other
films alone.
"""

from __future__ import annotations

from typing import Final

from cxr_schemas import Card
from cxrlib.evaluation.figures import class_figures, infection_figures, mask_figures
from cxrlib.evaluation.figures.figure import Figure, Section
from cxrlib.evaluation.figures.statistics import mean

_CONDUCT: Final = (
    Figure("both lungs found", Section.CONDUCT, lambda c: (c.both_lungs,), mean, on_card=True),
    Figure("rejected", Section.CONDUCT, lambda c: (c.rejected,), mean, on_card=True),
)


def figures_for(card: Card) -> tuple[Figure, ...]:
    """Return the figures that a bundle can be measured by, in the order of a table.

    What a bundle does not give is not measured: no infection, detection or percent without infection masks, and no
    classes without class probabilities (`not_measured` says so).
    """
    infection, classes = has_output(card, "infection"), has_output(card, "classes")
    return (
        *mask_figures.lung_mask_figures(),
        *(mask_figures.infection_mask_figures() if infection else ()),
        *((class_figures.accuracy_figure(card.classes),) if classes else ()),
        *((infection_figures.FALSE_ALARMS,) if infection else ()),
        *_CONDUCT,
        *((*infection_figures.percent_figures(), *infection_figures.detection_figures()) if infection else ()),
        *(class_figures.per_class_figures(card.classes) if classes else ()),
    )


def has_output(card: Card, output: str) -> bool:
    """Tell whether any network of a bundle gives an output: lung, infection or classes."""
    return any(output in network.outputs for network in card.networks)


def not_measured(card: Card) -> tuple[str, ...]:
    """Return what is not measured of a bundle since it does not give it, one sentence each."""
    said = {
        "infection": "The bundle gives no infection masks: infection, detection and percent infected are not measured.",
        "classes": "The bundle gives no classes: accuracy, ROC and calibration are not measured.",
    }
    return tuple(sentence for output, sentence in said.items() if not has_output(card, output))
