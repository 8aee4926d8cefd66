# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import suppress
from numbers import Number
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.runner import Runner, ValLoop
from mmpretrain.datasets import CustomDataset
from torch.utils.data import DataLoader, IterableDataset, Subset

from .error_text import named_error
from .suggestions import some_of

# Images that are validated before a run; a GPU gets a whole batch.
_FEW = 32


def check_validation(runner: Runner) -> Optional[Dict]:
    """Validate one batch, before hours of work and not after.

    Runs with a ``SynthesisHook`` have a whole rehearsal.

    Args:
        runner (Runner): Of a run that is about to be trained. Its random
            state and its model are left as they are.

    Returns:
        dict | None: The metrics; None if it validates its own way or not.

    Raises:
        ValueError: If model, images and metrics do not fit each other, or
            the best checkpoint is to be chosen by an unknown metric.
    """
    loop = runner.val_loop  # reads the images
    if type(loop) is not ValLoop:  # none, or one that validates its own way
        return None
    model = runner.model
    was_training = model.training
    try:
        devices = {p.device for p in model.parameters() if p.is_cuda}
        with torch.random.fork_rng([*devices]), torch.no_grad():
            model.eval()
            loader = loop.dataloader
            if not isinstance(loader.dataset, IterableDataset):
                loader = few_images(loader)
            batch = next(iter(loader))
            outputs = model.val_step(batch)
            doubt = check_labels(
                loop.dataloader.dataset, outputs, 'val_dataloader'
            )
            loop.evaluator.process(data_samples=outputs, data_batch=batch)
            metrics = loop.evaluator.evaluate(len(outputs))
    except Exception as error:
        raise ValueError(
            'The first batch of validation failed: check val_dataloader and '
            f'val_evaluator. {named_error(error)}'
        ) from error
    finally:
        model.train(was_training)
    if doubt:
        runner.logger.warning(doubt)
    check_metrics(runner, metrics)
    return metrics


def few_images(loader: DataLoader[Any]) -> DataLoader[Any]:
    """A loader of one batch from all over a data set.

    The first images may be of one class, or of one size.

    Args:
        loader (DataLoader): Of a validation; stays as it is.

    Returns:
        DataLoader: Of as many images as a batch has; on a CPU, 32 at most.
    """
    dataset: Any = loader.dataset
    count = min(len(dataset), loader.batch_size or _FEW)
    if get_device() != 'cuda':
        count = min(count, _FEW)
    chosen = np.linspace(0, len(dataset) - 1, count).round()
    images: Any = Subset(dataset, chosen.astype(int).tolist())
    if hasattr(dataset, 'metainfo'):
        images.metainfo = dataset.metainfo
    return DataLoader(images, count, collate_fn=loader.collate_fn)


def check_labels(
    dataset: Any, outputs: Optional[Sequence[Any]], loader: str
) -> str:
    """Check that the labels of a data set are classes of a network.

    Args:
        dataset (Dataset): Of the images, or a part of one.
        outputs (sequence[DataSample], optional): What the network made of
            some of them. Those of other networks than classifiers are passed
            over.
        loader (str): What the config calls the loader of the images.

    Returns:
        str: What may be wrong: labels that are places of folders, of which
        some lack; '' if nothing is.

    Raises:
        ValueError: If a label is no class.
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    labels: List[int] = []
    classes = 0
    # There may be no labels, or several of an image.
    with suppress(Exception):
        assert outputs
        classes = outputs[0].pred_score.numel()
        labels = [int(each.gt_label) for each in outputs]
        if hasattr(dataset, 'get_gt_labels'):
            labels = [int(label) for label in dataset.get_gt_labels()]
    wrong = sorted({n for n in labels if not 0 <= n < classes})
    if wrong:
        raise ValueError(
            f'{loader}.dataset has the labels {some_of(wrong, 5)}, but the '
            f'network has {classes} classes, 0..{classes - 1}: correct the '
            'labels, or test on images of its classes.'
        )
    names = getattr(dataset, 'CLASSES', None) or ()
    by_folder = isinstance(dataset, CustomDataset) and not dataset.ann_file
    if by_folder and 0 < len(names) < classes:
        return (
            f'{loader}.dataset has folders of {len(names)} classes, '
            f'{some_of(names, 5)}, but the network has {classes}, so labels '
            'may mean other classes. Make a folder for each of the others, '
            'an empty one if there is no image.'
        )
    return ''


def check_metrics(runner: Runner, metrics: Dict) -> None:
    """Check that hooks and schedules find the metrics that they look at.

    Args:
        runner (Runner): With hooks and, where they are built, schedules.
        metrics (dict): Of a validation.

    Raises:
        ValueError: If one is not there, or is no number.
    """
    wanted = {}
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best and metrics:
            for name in hook.key_indicators:
                metric = next(iter(metrics)) if name == 'auto' else name
                wanted[f'save_best={name!r} of the checkpoint hook'] = metric
        elif isinstance(hook, EarlyStoppingHook):
            name = f'monitor={hook.monitor!r} of {type(hook).__name__}'
            wanted[name] = hook.monitor
    for scheduler in _leaves(runner.param_schedulers):
        if getattr(scheduler, 'need_val_args', False):
            name = f'monitor={scheduler.monitor!r} of '
            wanted[name + type(scheduler).__name__] = scheduler.monitor
    for argument, name in wanted.items():
        if name not in metrics:
            raise ValueError(
                f'{argument} is none of the metrics, which are {[*metrics]}.'
            )
        value = metrics[name]
        if hasattr(value, 'item'):
            with suppress(RuntimeError, ValueError):  # of many elements
                value = value.item()
        if not isinstance(value, Number):
            raise ValueError(
                f'{argument} looks at the metric {name}, which is no number '
                f'but {type(value).__name__}: name another of {[*metrics]}.'
            )


def _leaves(schedulers) -> List:
    """Schedules of one or several optimizers, or what their configs hold."""
    if isinstance(schedulers, dict):
        schedulers = [*schedulers.values()]
    if isinstance(schedulers, (list, tuple)):
        return [leaf for entry in schedulers for leaf in _leaves(entry)]
    return [schedulers]
