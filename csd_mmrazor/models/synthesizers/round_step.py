# Copyright (c) csd_mmrazor developers. All rights reserved.
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, List, Optional

from torch import Tensor
from torch.optim import Optimizer

from .all_steps import AllSteps
from .best_step import BestStep
from .loss_scale import LossScale
from .objective import Objective
from .observer import Observer


@dataclass
class RoundStep:
    """A step of a round: from latents to changed weights, as one call.

    It is given nothing and returns nothing. All that it reads of earlier
    steps, and all that outlives it, is in memory that is changed in place:
    latents, weights, what the optimizers remember, the best step. So a CUDA
    graph can replay it (:class:`ReplayedSteps`), and what compiled code
    returned may be overwritten by the next step.

    Args:
        generate (Callable): The generator, compiled or not.
        generator (nn.Module): It itself.
        observer (Observer): What runs the networks.
        objective (Objective): The terms.
        with_student (bool): Whether terms that look at the student count.
        latent (Tensor): (N, latent_dim); whoever draws others copies them
            there.
        labels (Tensor, optional): Classes that are asked for, (N, ). None
            takes those that the teacher decides on.
        optimizers (list[Optimizer]): Of all that is trained.
        precision (Callable): Makes the context of the passes.
        scale (LossScale, optional): Of the loss, under float16.
        after_backward (Callable, optional): Called with the generator, once
            there are gradients.
        best (BestStep): Keeps the best step.
        every (AllSteps, optional): Keeps all.
    """

    generate: Callable[..., Any]
    generator: Any  # a module, perhaps with ``after_step``
    observer: Observer
    objective: Objective
    with_student: bool
    latent: Tensor
    labels: Optional[Tensor]
    optimizers: List[Optimizer]
    precision: Callable[[], ContextManager[None]]
    scale: Optional[LossScale]
    after_backward: Optional[Callable[[Any], None]]
    best: BestStep
    every: Optional[AllSteps]

    def __call__(self) -> None:
        """Take the step."""
        with self.precision():
            images = self.generate(self.latent, len(self.latent))
            # Autocast's last layers return half precision.
            images = images.to(self.latent.dtype)
            observation = self.observer.observe(
                images, self.latent, self.labels
            )
            terms = self.objective(observation, self.with_student)
        loss = self.objective.total(terms)
        for each in self.optimizers:
            each.zero_grad()
        if self.scale is None:
            loss.backward()
        else:
            (loss * self.scale.scale).backward()
            self.scale.unscale_(self._gradients())
        if self.after_backward is not None:
            self.after_backward(self.generator)
        for each in self.optimizers:
            each.step()
        if hasattr(self.generator, 'after_step'):
            self.generator.after_step(self.latent)
        self.best.update(loss, images, terms)
        if self.every is not None:
            logits_t = observation.of_teachers[0].logits_t
            self.every.update(observation.seen, logits_t)

    def _gradients(self) -> List[Tensor]:
        return [
            param.grad
            for each in self.optimizers
            for group in each.param_groups
            for param in group['params']
            if param.grad is not None
        ]
