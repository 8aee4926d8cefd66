# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any

from mmengine.runner import EpochBasedTrainLoop, Runner

from ...datasets import BankFolder, ImageBank
from ...models.synthesizers import Networks, check_classifiers
from ..synthesis.class_names import names_of_val
from ..synthesis.run_bank import check_device_storage
from .loop_checks import (
    check_accumulation,
    check_hooks,
    check_optimizers_step,
)


def check_finished_bank(runner: Runner) -> None:
    """Check that a student can be trained on a bank that does not grow.

    ``SynthesisHook`` checks as much for those that do.

    Args:
        runner (Runner): Of a run without ``SynthesisHook``, built. Where it
            trains on other images, or something else than a student of
            teachers, nothing is checked.

    Raises:
        BankError: If the bank is of other images or classes, or these have
            another order in the images of validation.
        ValueError: If it is empty, or a network cannot be worked with.
    """
    bank: Any = runner.train_dataloader.dataset
    model: Any = getattr(runner.model, 'module', runner.model)
    try:
        networks = Networks.from_algorithm(model)
    except TypeError:
        return
    check_hooks(runner)
    check_optimizers_step(runner)
    if not isinstance(bank, ImageBank):
        return
    check_device_storage(runner.train_dataloader)
    places = bank.places(held_out=False)
    if not len(places):
        raise ValueError(
            f'The image bank has no images to train on (data_root='
            f'{bank.data_root}), and no SynthesisHook makes any: set '
            'train_dataloader.dataset.data_root to a bank that has some.'
        )
    # Says so if they are others.
    path = bank.opened.path
    BankFolder(path, image_shape=networks.image_shape)
    images = bank.__getitems__(places[:2].tolist())['inputs']
    device = next(networks.teachers.parameters()).device
    num_classes = check_classifiers(
        networks, networks.normalize(images.to(device)), f'images of {path}'
    )
    BankFolder(path, num_classes=num_classes)
    own = bank.opened.classes
    names = names_of_val(runner, num_classes) or []
    # Other names may be other words for the same.
    if any(
        name in own and own[label : label + 1] != [name]
        for label, name in enumerate(names)
    ):
        BankFolder(path, classes=names)
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        check_accumulation(runner, len(runner.train_dataloader))
