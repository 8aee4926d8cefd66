# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, List, Optional, Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS
from torch import Tensor

from ...models.synthesizers import Networks, aux_answers
from .synthesis_hook import synthesis_hooks


@HOOKS.register_module()
class AuxProbeHook(Hook):
    """Logs the accuracy of the auxiliary head on real images.

    It looks at the images of each validation, over all views, and logs
    ``aux/top1`` in % with it. Without an auxiliary head it does nothing. Nor
    does it beside an ``EMAHook`` where ``SynthesisHook`` draws the head anew
    in each epoch: what is validated then has the mean of several heads.
    """

    def __init__(self) -> None:
        self.networks: Optional[Networks] = None
        self.right: List[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        networks = Networks.from_algorithm(runner.model)
        is_mean = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        is_drawn = any(each.reset_aux_head for each in synthesis_hooks(runner))
        if networks.aux_head is not None and not (is_mean and is_drawn):
            self.networks = networks

    def before_val_epoch(self, runner: Runner) -> None:
        self.right = []

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
        outputs: Optional[Sequence[Any]] = None,
    ) -> None:
        """Note which views of real images the head classifies correctly."""
        if self.networks is None:
            return
        model = getattr(runner.model, 'module', runner.model)
        inputs = model.data_preprocessor(data_batch, False)['inputs']
        labels = torch.cat([output.gt_label for output in outputs or ()])
        for aux_logits, joint in aux_answers(self.networks, inputs, labels):
            self.right.append(aux_logits.argmax(1) == joint)

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, Any]] = None
    ) -> None:
        """Log the share of all processes; LoggerHook writes it."""
        if self.networks is None:
            return
        device = next(self.networks.aux_head.parameters()).device
        right = torch.tensor(
            [
                sum(right.sum() for right in self.right),
                sum(len(right) for right in self.right),
            ],
            device=device,
        )
        all_reduce(right)
        share = (right[0] / right[1]).item() * 100
        runner.message_hub.update_scalar('val/aux/top1', share)
