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
# What the places in errors are called there, and what has no argument.
_PLACES = {
    r'default_hooks\.synthesis\.synthesizer, model\.teachers and '
    r'model\.aux_head': 'teacher, mean, std and aux_task',
    'model, optim_wrapper and train_dataloader': 'student and schedule',
    r'model\.architecture': 'student',
    r'model\.teachers': 'teacher',
    r'model\.student_loss': 'loss_weights=dict(ce=...)',
    r'model\.distiller\.distill_losses\.loss_(\w+)(=\{[^}]*\})?': (
        r'loss_weights=dict(\1=...)'
    ),
    'val_dataloader, val_evaluator': 'val',
    r'optim_wrapper\.architecture\.optimizer\.lr=([\d.e+-]*\d)': (
        r'schedule=dict(lr=\1)'
    ),
    r' and optim_wrapper\.\w+\.optimizer\.lr=[\d.e+-]*\d': '',
    "the learning rate of the synthesizer's optimizer or ": '',
    r'train_dataloader\.batch_size': 'schedule=dict(batch=...)',
    'batch_size of the synthesizer': 'schedule=dict(synthesis_batch=...)',
    'raise batch_size': 'raise schedule=dict(batch=...)',
    r'default_hooks\.checkpoint and hooks that write into it': 'work_dir',
    '--work-dir': 'work_dir',
}


def of_arguments(text: str) -> str:
    """An error of a config, in words for who called ``distill()``."""
    for place, argument in _PLACES.items():
        text = re.sub(place, argument, text)
    return with_arguments(text)


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
