# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import re
import shutil
import sysconfig
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from typing import Any, Callable, List, Optional, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..utils import CollectedStatistics, fast_frozen_bn, logits_of
from .networks import Networks

# Compute capability.
_LEAST_FOR_TRITON = (7, 0)


class CompiledCopy(nn.Module):
    """A frozen copy of a classifier, compiled by ``torch.compile``.

    Compiled code belongs to one module with one set of hooks and layers. A
    copy that nobody trains keeps both from round to round, so that it is
    compiled once.

    Args:
        model (nn.Module): The classifier.
        with_statistics (bool): Whether ``statistics`` are those of the last
            pass, as in :func:`fast_frozen_bn`.
        mode (str, optional): Of ``torch.compile``. Defaults to None.
    """

    def __init__(
        self, model: Any, with_statistics: bool, mode: Optional[str] = None
    ) -> None:
        super().__init__()
        self.model = deepcopy(model).requires_grad_(False).eval()
        if hasattr(self.model, 'keep_watching'):
            self.model.keep_watching()
        self.statistics = CollectedStatistics([])
        if with_statistics:
            # Open for good: no one else runs this copy.
            self._open = fast_frozen_bn(self.model, True)
            self.statistics = self._open.__enter__()
        # Shapes never change; each pass is one graph or an error.
        compiled = partial(
            torch.compile, dynamic=False, fullgraph=True, mode=mode
        )
        self._logits = compiled(self._forward)
        self._features = compiled(self._extract_feat)

    def _forward(self, inputs: Tensor) -> Tensor:
        return logits_of(self.model(inputs, mode='tensor'))

    def _extract_feat(self, inputs: Tensor) -> Tensor:
        return self.model.extract_feat(inputs, stage='pre_logits')

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
        """The logits, (N, K)."""
        return self._run(self._logits, inputs)

    def extract_feat(self, inputs: Tensor, stage: str) -> Tensor:
        """The feature before the last layer, (N, D)."""
        return self._run(self._features, inputs)

    def _run(
        self, compiled: Callable[[Tensor], Tensor], inputs: Tensor
    ) -> Tensor:
        try:
            return compiled(inputs)
        except RuntimeError as error:
            if not type(error).__module__.startswith('torch._dynamo.'):
                raise
            reason = f'{error}'.strip().partition('\n')[0]
            code = re.findall(r'File "[^"]+", line \d+, in .+', f'{error}')
            place = f' ({code[-1]})' if code else ''
            raise ValueError(
                f'compile=True of ImageSynthesizer cannot compile '
                f'{type(getattr(self.model, "net", self.model)).__name__}: '
                f'{reason}{place}. Set compile=False.'
            ) from error


def check_compiler(device: torch.device) -> None:
    """Check that there is what ``torch.compile`` needs, but does not bring.

    Args:
        device (torch.device): Where the networks are.

    Raises:
        ValueError: If something is lacking; says what.
    """
    variable, names = 'CXX', ['g++']
    lacking = []
    if device.type == 'cuda':
        variable, names = 'CC', ['gcc', 'clang']
        if find_spec('triton') is None:
            lacking.append('Triton (pip install triton)')
        elif torch.cuda.is_available() and (
            torch.cuda.get_device_capability(device) < _LEAST_FOR_TRITON
        ):
            lacking.append('a GPU of compute capability 7.0 or more')
    names = [os.environ[variable]] if os.environ.get(variable) else names
    if not any(map(shutil.which, names)):
        lacking.append(
            f'a compiler ({" or ".join(names)}; the environment variable '
            f'{variable} names another)'
        )
    include = sysconfig.get_paths()['include']
    if not os.path.exists(os.path.join(include, 'Python.h')):
        lacking.append(
            f"Python's headers (Python.h in {include}; python3-dev on Debian)"
        )
    if lacking:
        raise ValueError(
            f'compile=True of ImageSynthesizer on {device.type} lacks '
            f'{" and ".join(lacking)}: install it, or set compile=False.'
        )


class CompiledNetworks:
    """Compiled copies of networks, kept for all rounds of a run.

    Args:
        networks (Networks): What is copied.
        mode (str, optional): Of ``torch.compile``. Defaults to None.

    Raises:
        ValueError: If they cannot be compiled here.
    """

    def __init__(self, networks: Networks, mode: Optional[str] = None) -> None:
        if not hasattr(torch.compiler, 'is_compiling'):
            raise ValueError(
                'compile=True of ImageSynthesizer needs torch 2.3 or newer, '
                f'and this is {torch.__version__}: set compile=False.'
            )
        if networks.aux_feature is not None:
            raise ValueError(
                'compile=True of ImageSynthesizer takes the auxiliary '
                "head's feature from the student's last layer, but got "
                f'aux_feature="{networks.aux_feature}": set compile=False, '
                'or model.aux_feature=None.'
            )
        check_compiler(next(networks.teachers.parameters()).device)
        copies = [
            CompiledCopy(each, True, mode) for each in networks.each_teacher
        ]
        self.statistics = [copy.statistics for copy in copies]
        self.teachers = nn.ModuleDict(
            {str(index): copy for index, copy in enumerate(copies)}
        )
        self.student = CompiledCopy(networks.student, False, mode)

    def follow(
        self, networks: Networks
    ) -> Tuple[Networks, List[CollectedStatistics]]:
        """Take over the student's weights; teachers do not change.

        Args:
            networks (Networks): The original ones.

        Returns:
            tuple[Networks, list[CollectedStatistics]]: The copies in their
            place, and the BN statistics of each teacher.
        """
        self.student.model.load_state_dict(networks.student.state_dict())
        copies = networks._replace(
            teachers=self.teachers, student=self.student
        )
        return copies, self.statistics
