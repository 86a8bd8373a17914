"""Train a recipe: read the films, fit, average the weights, export a bundle. A killed training goes on where it was."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, Sampler

from cxrlib.bundle import Bundle
from cxrlib.datasets import Split, read_dataset
from cxrlib.models.catalog import architecture
from cxrlib.models.multitask import MultitaskUnet, load_grey_encoder
from cxrlib.training.export import CLASSES, export_bundle
from cxrlib.training.films import LabelledFilm, TrainingFilms, held_out, load_phantoms, load_sample
from cxrlib.training.module import MultitaskModule
from cxrlib.training.pretrained import encoder_weights
from cxrlib.training.recipe import Recipe

_LOG = logging.getLogger(__name__)


class _EpochOrder(Sampler[int]):
    """A shuffled order that depends on seed and epoch alone, so that a resumed training sees the same batches.

    Lightning calls `set_epoch` before each epoch; the films' own random changes follow it too.
    """

    def __init__(self, films: TrainingFilms) -> None:
        self.films = films

    def set_epoch(self, epoch: int) -> None:
        self.films.epoch = epoch

    def __len__(self) -> int:
        return len(self.films)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.films.seed * 1000 + self.films.epoch)
        return iter(torch.randperm(len(self.films), generator=generator).tolist())


def read_films(recipe: Recipe, data: Path) -> tuple[list[LabelledFilm], list[LabelledFilm], dict[str, int]]:
    """Read the films of a recipe: those to train on, those held out for validation, and how many by folder."""
    rows, columns = recipe.input.rows, recipe.input.columns
    training = load_phantoms(recipe.phantoms, CLASSES, rows, columns)
    validation: list[LabelledFilm] = []
    films: Counter[str] = Counter()
    for plan in recipe.data:
        for sample in read_dataset(data / plan.folder, Split.TRAIN):
            labelled = load_sample(sample, CLASSES, rows, columns)
            films[plan.folder] += 1
            if held_out(sample.group, recipe.validation):
                validation.append(labelled)
            else:
                training.extend([labelled] * plan.repeats(sample.source, sample.film_class))
    _LOG.info("%d training films an epoch, %d held out", len(training), len(validation))
    return training, validation, dict(films)


def new_network(recipe: Recipe) -> MultitaskUnet:
    """Build the recipe's network with its starting weights."""
    network = architecture(recipe.network.architecture).build(recipe.network.arguments)
    if not isinstance(network, MultitaskUnet):
        raise TypeError(
            f"this trainer trains a MultitaskUnet; {recipe.network.architecture} is {type(network).__name__}"
        )
    if recipe.network.pretrained is not None:
        load_grey_encoder(network, encoder_weights(recipe.network.pretrained))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train(recipe: Recipe, data: Path, work: Path, out: str, *, report: Callable[[str], None] = _LOG.info) -> Bundle:
    """Train `recipe` on the data sets below `data` and write the bundle to `out`.

    Parameters
    ----------
    work : Path
        Keeps the newest checkpoint, from which a training that was killed is taken up again, and the history: one
        ``history/version_N/metrics.csv`` for each start.
    report : callable
        Told in one line what is being done.
    """
    seed_everything(recipe.seed, verbose=False)
    training, validation, films = read_films(recipe, data)
    report(f"{len(training)} films an epoch, {len(validation)} held out, {recipe.epochs} epochs")
    dataset = TrainingFilms(training, recipe.augmentation, recipe.seed)
    loader = DataLoader(dataset, batch_size=recipe.batch, sampler=_EpochOrder(dataset), drop_last=True)
    held = DataLoader(TrainingFilms(validation, None, recipe.seed), batch_size=recipe.batch)
    module = MultitaskModule(recipe, new_network(recipe), steps=recipe.epochs * len(loader))
    last = work / "last.ckpt"
    trainer = Trainer(
        max_epochs=recipe.epochs,
        accelerator="auto",
        devices=1,
        precision="bf16-mixed",
        callbacks=[
            EMAWeightAveraging(decay=recipe.optimiser.average_decay),
            # The newest epoch's alone, under one name: `save_last` would be written at the end of the training only.
            ModelCheckpoint(dirpath=work, filename="last", enable_version_counter=False, save_on_train_epoch_end=True),
        ],
        logger=CSVLogger(save_dir=work, name="history"),
        log_every_n_steps=20,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, _untyped(loader), _untyped(held), ckpt_path=str(last) if last.exists() else None)
    return export_bundle(recipe, module.network.eval(), films, out)


def _untyped(loader: DataLoader[Any]) -> Any:
    return loader
