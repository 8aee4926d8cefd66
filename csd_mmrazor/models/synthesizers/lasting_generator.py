# Copyright (c) csd_mmrazor developers. All rights reserved.
import zlib
from contextlib import contextmanager
from copy import deepcopy
from typing import Dict, Iterable, Iterator, Optional

import torch
import torch.nn as nn
from mmengine.dist import get_world_size
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer
from ...utils.seeds import seeded
from ..utils import initial_values, reset_weights


@contextmanager
def same_in_all(known: Iterable[Tensor]) -> Iterator[None]:
    """Draw the same in all processes, whose rounds have seeds of their own.

    Args:
        known (iterable[Tensor]): Is the same in all of them, and if a round
            is tried again.
    """
    if get_world_size() == 1:
        yield
        return
    values = [value.detach() for value in known]
    content = b''.join(value.cpu().numpy().tobytes() for value in values)
    with seeded(zlib.crc32(content), values[0].device):
        yield


@MODELS.register_module()
class LastingGenerator(nn.Module):
    """A generator that goes on from round to round, statistics included.

    DFQ's does so through the run; that of NAYER is drawn again after ten
    epochs (authors' code, datafree/synthesis/nayer.py, g_life).

    Args:
        life (int, optional): Rounds of each process after which the weights
            are drawn again. Defaults to None, never.
        initial_life (int, optional): The same in the initial bank. Defaults
            to ``life``.
    """

    def __init__(
        self, life: Optional[int] = None, initial_life: Optional[int] = None
    ) -> None:
        super().__init__()
        for name, value in dict(life=life, initial_life=initial_life).items():
            if value is not None:
                check_integer(f'{name} of LastingGenerator', value)
        self.life = life
        self.initial_life = initial_life or life
        self.weights: nn.Module  # once prepared
        # Rounds that the weights have lasted.
        self.register_buffer('age', torch.zeros(()), persistent=False)

    age: Tensor

    def prepare(self, generator: nn.Module) -> None:
        """Draw the weights of a generator of that kind."""
        self.weights = deepcopy(generator)
        self.initial = initial_values(generator)
        reset_weights(self.weights)

    def begin_round(
        self, generator: nn.Module, with_student: bool = True
    ) -> None:
        """Give the generator the weights to start from."""
        if self.ends(with_student):
            with same_in_all(self.weights.parameters()):
                reset_weights(self.weights, self.initial)
            self.age.zero_()
        generator.load_state_dict(self.weights.state_dict())

    def ends(self, with_student: bool) -> bool:
        """Whether the next round draws the weights again."""
        life = self.life if with_student else self.initial_life
        return life is not None and bool(self.age >= life)

    def after_backward(self, generator: nn.Module) -> None:
        """Nothing is to be seen in a step."""

    def end_round(self, generator: nn.Module) -> None:
        """Take over the weights of a round."""
        self.weights.load_state_dict(generator.state_dict())
        self.age += 1

    def state(self) -> Dict[str, Tensor]:
        """Weights, statistics and age, by name."""
        state = {
            f'weights.{name}': value.detach()
            for name, value in self.weights.state_dict().items()
        }
        return dict(state, age=self.age)

    def load_state(self, state: Dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        self.age.copy_(state['age'])
        self.weights.load_state_dict(
            {
                name[len('weights.') :]: value
                for name, value in state.items()
                if name != 'age'
            }
        )
