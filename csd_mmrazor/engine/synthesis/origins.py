# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the images of a run are made from."""

import json
from typing import Any, Dict, List

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import Runner

from ...models.synthesizers import Networks
from .bank_targets import fingerprint


def origins_of(
    runner: Runner, hook: Any, networks: Networks, seed: int
) -> Dict[str, Any]:
    """What images follow from that a run makes before its first checkpoint.

    Args:
        runner (Runner): The run.
        hook (SynthesisHook): Its own.
        networks (Networks): Its networks.
        seed (int): Its seed.

    Returns:
        dict[str, Any]: By ``ORIGINS``, plain data, the same on every process.
    """
    found: List[Any] = [None]
    if is_main_process():
        model = getattr(runner.model, 'module', runner.model)
        bank = runner.train_dataloader.dataset
        teachers = str(
            [
                fingerprint(teacher, model.data_preprocessor)
                for teacher in networks.each_teacher
            ]
        )
        config = dict(runner.cfg.get('model') or {})
        found = [
            dict(
                seed=seed,
                init_iters=hook.init_iters,
                synthesizer=hook.described,
                teachers=teachers,
                # The same weights may be used otherwise, as by a stride.
                architecture=describe(
                    {key: config.get(key) for key in _OF_STUDENT}
                ),
                student=weights_of(networks),
                init_rounds=0 if bank.init_bank else hook.init_rounds,
                init_bank=[
                    str(bank.init_bank),
                    bank.init_labels,
                    teachers if bank.init_labels == 'teacher' else '',
                ],
            )
        ]
    broadcast_object_list(found)
    origins: Dict[str, Any] = found[0]
    return origins


_OF_STUDENT = ('architecture', 'aux_head')


def weights_of(networks: Networks) -> List[str]:
    """Checksums of the student and its head as they are."""
    return [
        fingerprint(network)
        for network in (networks.student, networks.aux_head)
        if network is not None
    ]


def describe(config: Dict[str, Any]) -> str:
    """A config as a text that does not depend on the order of its keys."""
    return json.dumps(config, sort_keys=True, default=_name_of)


def _name_of(part: Any) -> str:
    """Stands for what a config holds beside plain data."""
    named = part if hasattr(part, '__qualname__') else type(part)
    return f'{named.__module__}.{named.__qualname__}'
