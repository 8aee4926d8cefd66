# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a report says of networks and images, measured on the run's own."""

import platform
import statistics
import sys
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import mmengine
import mmpretrain
import mmrazor
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torch import Tensor

from ..models.synthesizers import Networks
from ..models.utils import evaluating, logits_of
from ..report.bank_images import ShownRound
from ..version import __version__
from .flops import operations

# Images of a forward pass that is timed, and how often each is.
_BATCHES, _PASSES = (1, 32), 5
# Images that are classified at a time.
_BATCH = 256


@contextmanager
def unnoticed(*modules: nn.Module) -> Iterator[None]:
    """Run networks in eval mode and leave modes and random state alone."""
    devices = {p.device for m in modules for p in m.parameters()}
    gpus = [device for device in devices if device.type == 'cuda']
    with evaluating(*modules), torch.random.fork_rng(gpus), torch.no_grad():
        yield


def measure_network(model: Any, inputs: Tensor) -> Dict[str, Any]:
    """Size and speed of a classifier.

    Args:
        model (nn.Module): Of mmpretrain's kind.
        inputs (Tensor): One image, (1, C, H, W), as it takes them.

    Returns:
        dict: ``weights``, their number; ``bytes`` of weights and buffers;
        ``multiplications`` of convolutions and matrix products for an image;
        ``milliseconds``, the median time of a forward pass by its number of
        images.
    """
    with unnoticed(model):
        count = operations(lambda: model(inputs, mode='tensor'))
        times = {
            batch: milliseconds(
                model, inputs.expand(batch, -1, -1, -1).contiguous(), _PASSES
            )
            for batch in _BATCHES
        }
    return dict(
        weights=sum(weight.numel() for weight in model.parameters()),
        bytes=sum(
            value.numel() * value.element_size()
            for value in model.state_dict().values()
        ),
        multiplications=int(count) // 2,  # and as many additions
        milliseconds=times,
    )


def milliseconds(model: Any, inputs: Tensor, passes: int) -> float:
    """Median time of forward passes, after one for what is made once.

    Args:
        model (nn.Module): Of mmpretrain's kind.
        inputs (Tensor): (N, C, H, W), as it takes them.
        passes (int): How many are timed.
    """
    found = []
    for _ in range(1 + passes):
        start = time.perf_counter()
        model(inputs, mode='tensor')
        if inputs.is_cuda:
            torch.cuda.synchronize(inputs.device)
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found[1:])


def score_images(
    networks: Networks,
    rounds: Sequence[ShownRound],
    known: Dict[Tuple[str, int], Tuple[int, float]],
) -> List[List[Any]]:
    """How hard images of the bank are for the student as it is.

    Args:
        networks (Networks): Student and teacher.
        rounds (sequence[ShownRound]): The images.
        known (dict): What the teacher says of an image, by shard and place;
            gets what is not in it yet.

    Returns:
        list[list]: Entries of ``images.scores`` in ``report.json``.
    """
    entries: List[List[Any]] = []
    student, teacher = networks.student, networks.each_teacher[0]
    device = next(teacher.parameters()).device
    with unnoticed(student, teacher):
        for each in rounds:
            keys = [(each.shard.name, place) for place in each.places.tolist()]
            images = torch.from_numpy(each.images).to(device)
            labels = torch.from_numpy(each.labels).to(device)
            inputs = networks.normalize(images)
            if any(key not in known for key in keys):
                shares = _logits(teacher, inputs).softmax(1)
                answers = shares.argmax(1).tolist()
                shares = shares.gather(1, labels[:, None])[:, 0]
                known.update(zip(keys, zip(answers, shares.tolist())))
            logits = _logits(student, inputs)
            losses = F.cross_entropy(logits, labels, reduction='none')
            for key, loss, answer in zip(
                keys, losses.tolist(), logits.argmax(1).tolist()
            ):
                finite = loss if 0 <= loss < 1e9 else None
                entries.append([*key, finite, answer, *known[key]])
    return entries


def _logits(model: Any, inputs: Tensor) -> Tensor:
    return torch.cat(
        [
            logits_of(model(part, mode='tensor')).float()
            for part in inputs.split(_BATCH)
        ]
    )


def describe_machine(device: torch.device) -> str:
    """What a run runs on."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    threads = f'{count} thread{"s" * (count != 1)}'
    return (
        f'{platform.machine()} processor, {threads}, '
        f'{torch.backends.cpu.get_cpu_capability()}'
    )


def versions() -> Dict[str, str]:
    """Releases that a result may depend on."""
    return dict(
        csd_mmrazor=__version__,
        Python=sys.version.split()[0],
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        mmengine=mmengine.__version__,
        mmpretrain=mmpretrain.__version__,
        mmrazor=mmrazor.__version__,
    )
