# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What files of MMRazor's searches may do to a run."""

import ast
import functools
import types

import torch

from ..utils import CheckpointError, load_file


def read_candidates_without_running() -> None:
    """``Candidates.subnets`` evaluates its keys, which come from a file.

    They are the texts of dicts, and are read as such.
    """
    from mmrazor.structures.subnet import candidate

    def read(text):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError) as error:
            raise ValueError(
                'A candidate of a search must be the text of a dict of its '
                f'choices, but is {text[:200]!r}: it is not run.'
            ) from error

    # What this module alone sees of it.
    candidate.eval = read


def draw_choices_as_plain_texts() -> None:
    """``OneShotMutableOP`` draws its choices as texts of NumPy.

    NumPy 2 writes them as ``np.str_('a')``, so no candidate of a search could
    be read, and YAML as a call of NumPy's on any release.
    """
    from mmrazor.models.mutables import OneShotMutableOP

    sample = OneShotMutableOP.sample_choice

    @functools.wraps(sample)
    def sample_choice(self):
        return str(sample(self))

    OneShotMutableOP.sample_choice = sample_choice


def calibrate_on_no_more_samples_than_asked() -> None:
    """``CalibrateBNMixin`` takes the entries of a batch for its samples.

    MMEngine's batches are dicts of two: where one or two samples remained,
    the dict was to be cut, and where fewer than a batch, none was.
    """
    from mmrazor.engine.runner.utils import CalibrateBNMixin

    calibrate = CalibrateBNMixin.calibrate_bn_statistics

    class Batch(dict):
        def __len__(self):
            return len(self['inputs'])

        def __getitem__(self, key):
            if isinstance(key, slice):
                return {name: values[key] for name, values in self.items()}
            return super().__getitem__(key)

    @functools.wraps(calibrate)
    def calibrate_bn_statistics(self, dataloader, *args, **kwargs):
        batches = (
            Batch(batch) if isinstance(batch, dict) else batch
            for batch in dataloader
        )
        return calibrate(self, batches, *args, **kwargs)

    CalibrateBNMixin.calibrate_bn_statistics = calibrate_bn_statistics


def resume_searches_from_their_state() -> None:
    """A search that is resumed takes every entry of a file for its own.

    It makes each an attribute, its methods and its runner included.
    """
    from mmrazor.engine import AutoSlimGreedySearchLoop, EvolutionSearchLoop
    from mmrazor.structures import Candidates

    number = (int, float)

    def checked(resume, kinds):
        @functools.wraps(resume)
        def resume_from_its_state(self):
            from mmengine import fileio

            state = fileio.load(self.resume_from)
            if (
                not isinstance(state, dict)
                or state.keys() != kinds.keys()
                or any(not isinstance(state[k], kinds[k]) for k in kinds)
            ):
                found = type(state).__name__
                if isinstance(state, dict):
                    found = ', '.join(
                        f'{name} ({type(value).__name__})'
                        for name, value in state.items()
                    )
                raise CheckpointError(
                    f'resume_from={self.resume_from} is no state of '
                    f'{type(self).__name__}: it must hold '
                    f'{", ".join(kinds)}, but holds {found[:300]}. Name the '
                    'file that such a search wrote to its work dir.'
                )
            resume(self)

        return resume_from_its_state

    for cls, kinds in (
        (
            EvolutionSearchLoop,
            dict(
                _epoch=int, candidates=Candidates, top_k_candidates=Candidates
            ),
        ),
        (
            AutoSlimGreedySearchLoop,
            dict(
                current_subnet=dict,
                current_flops=number,
                searched_subnet=list,
                searched_subnet_flops=list,
            ),
        ),
    ):
        cls._resume = checked(cls._resume, kinds)


def never_run_files_of_predictors() -> None:
    """Predictors of a search are read by joblib, which runs a file.

    What scikit-learn makes has no other form. That of ``MLPHandler`` is a
    state dict, which ``torch.load`` runs before torch 2.6.
    """
    from mmrazor.models.task_modules.predictor.handler import (
        base_handler,
        mlp_handler,
    )

    def refuse(path):
        raise CheckpointError(
            f'handler_ckpt={path} is not read: it is a pickle of objects, '
            'which could run any code. Leave handler_ckpt out, so that the '
            'predictor is trained again, from train_samples.'
        )

    base_handler.load = refuse
    stand_in = types.ModuleType('torch')
    stand_in.__getattr__ = functools.partial(getattr, torch)
    stand_in.load = load_file
    mlp_handler.torch = stand_in
