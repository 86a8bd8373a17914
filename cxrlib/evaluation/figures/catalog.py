"""The list of figures of merit for a bundle.

A rejected film counts as empty masks, as a wrong class and as lungs not found. It counts as a miss for both the
sensitivity and the specificity of infection. Only figures that need a measurement (ROC area, calibration error,
difference in percent) leave it out.
"""

from __future__ import annotations

from typing import Final

from cxr_schemas import Card
from cxrlib.evaluation.figures import class_figures, infection_figures, mask_figures
from cxrlib.evaluation.figures.figure import Figure, Section
from cxrlib.evaluation.figures.statistics import mean

_FILM_FIGURES: Final = (
    Figure("both lungs found", Section.FILMS, lambda c: (c.both_lungs,), mean, on_card=True),
    Figure("rejected", Section.FILMS, lambda c: (c.rejected,), mean, on_card=True),
)


def figures_for(card: Card) -> tuple[Figure, ...]:
    """Return the figures for a bundle, in the order of the tables.

    A bundle without infection masks has no figures of infection, detection and percent; one without class probabilities
    has no class figures. `not_measured` returns these gaps as sentences.
    """
    infection, classes = has_output(card, "infection"), has_output(card, "classes")
    return (
        *mask_figures.lung_mask_figures(),
        *(mask_figures.infection_mask_figures() if infection else ()),
        *((class_figures.accuracy_figure(card.classes),) if classes else ()),
        *((infection_figures.FALSE_ALARMS,) if infection else ()),
        *_FILM_FIGURES,
        *((*infection_figures.percent_figures(), *infection_figures.detection_figures()) if infection else ()),
        *(class_figures.per_class_figures(card.classes) if classes else ()),
    )


def has_output(card: Card, output: str) -> bool:
    """Return whether any network of a bundle has an output: lung, infection or classes."""
    return any(output in network.outputs for network in card.networks)


def not_measured(card: Card) -> tuple[str, ...]:
    """Return one sentence for each output that the bundle lacks and that is therefore not measured."""
    sentences = {
        "infection": "The bundle gives no infection masks: infection, detection and percent infected are not measured.",
        "classes": "The bundle gives no classes: accuracy, ROC and calibration are not measured.",
    }
    return tuple(sentence for output, sentence in sentences.items() if not has_output(card, output))
