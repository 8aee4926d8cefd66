# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What settings of a config are called in ``distill()``."""

import re

# By what messages call them, which are of runs by a config as well.
_ARGUMENTS = {
    r'\binit_iters\b': 'schedule=dict(init_iters=...)',
    r'(?<!\w)iters\b': 'schedule=dict(iters=...)',
    r'\binit_rounds\b': 'schedule=dict(init_rounds=...)',
    r'\boptimizer\.lr\b': 'schedule=dict(lr=...)',
    **{
        rf'\bloss_{name}\b': f'loss_weights=dict({name}=...)'
        for name in ('oh', 'bn', 'csd', 'adv')
    },
    r'\btarget_(views|maps)\b': 'keep_targets=...',
    r'\bdata_preprocessor\b': 'mean=..., std=...',
    r'\b(max_epochs|num_samples)\b': 'budget=...',
}


def with_arguments(text: str) -> str:
    """A message, with the arguments of ``distill()`` for what it names.

    Args:
        text (str): For who has a config. One that names ``distill()`` is
            returned as it is.
    """
    if 'distill()' in text:
        return text
    found = [a for name, a in _ARGUMENTS.items() if re.search(name, text)]
    if not found:
        return text
    return f'{text} As arguments of distill(): {", ".join(found)}.'
