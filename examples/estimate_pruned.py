"""How near estimates without labels come to the truth for pruned students.

    pip install torch-pruning
    python examples/estimate_pruned.py OUT.csv

A teacher of three convolutions learns scikit-learn's digits. Torch-Pruning
takes channels from it until a half or a quarter of the operations is left, and
``distill()`` repairs it without a real image. Then 360 test images tell how
good each student is, and how far its estimate is off.
"""

import argparse
import copy
import csv
import tempfile
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch_pruning
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from csd_mmrazor import distill
from csd_mmrazor.utils.imports import import_file

NET = Path(__file__).parents[1] / 'docs/results/label_free/net.py'
EPOCHS, STEPS = 20, 600


def train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(images)).split(64):
            loss = F.cross_entropy(network(images[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def prune(network: nn.Module, times: float, example: Tensor) -> None:
    """Prune a network in place, to so many times fewer operations.

    Its last convolution keeps all outputs. By the share that others keep, the
    operations of the last one fall, and those of the second by its square.
    """
    torch_pruning.pruner.BasePruner(
        network,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=1.5 - (1 + 8 / times) ** 0.5 / 2,
        ignored_layers=[network.body[8], network.fc],
    ).step()


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    right = network.eval()(images).argmax(1) == labels
    return 100 * right.double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description='Estimates of the pruned')
    parser.add_argument('out', help='a CSV file, which gets a row a student')
    parser.add_argument('--size', type=int, default=8, help='of images')
    args = parser.parse_args()
    size = args.size
    pixels, classes = load_digits(return_X_y=True)
    split = train_test_split(
        torch.tensor(pixels / 16).float().view(-1, 1, 8, 8),
        torch.tensor(classes),
        test_size=360,
        random_state=0,
        stratify=classes,
    )
    rows = []
    known = [F.interpolate(each, size=[size] * 2) for each in split[:2]]
    mean, std = known[0].mean().item(), known[0].std().item()
    images, *test = [(each - mean) / std for each in known] + [split[3]]
    torch.manual_seed(0)
    teacher = import_file(str(NET)).Net(32)
    train(teacher, images, split[2])
    teacher_top1 = accuracy(teacher, *test)
    for times in (2, 4):
        student = copy.deepcopy(teacher)
        prune(student, times, images[:1])
        pruned = accuracy(student, *test)
        with tempfile.TemporaryDirectory() as folder:
            run = distill(
                *(teacher, student),
                image_shape=(1, size, size),
                mean=mean,
                std=std,
                budget=STEPS,
                work_dir=Path(folder, 'run'),
            )
        row = dict(
            size=size,
            times=times,
            teacher_top1=teacher_top1,
            pruned_top1=pruned,
            top1=accuracy(run.student, *test),
            agreement=run.agreement,
        )
        if run.estimate is not None:
            found = run.estimate.accuracy(teacher_top1)
            row.update(estimate=found.top1, low=found.low, high=found.high)
        rows.append(row)
        print(row, flush=True)
    names = dict.fromkeys(name for row in rows for name in row)
    with open(args.out, 'w', newline='') as file:
        writer = csv.DictWriter(file, [*names], lineterminator='\n')
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    name: f'{value:.2f}' if type(value) is float else value
                    for name, value in row.items()
                }
            )


if __name__ == '__main__':
    main()
