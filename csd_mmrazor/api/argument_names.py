# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What settings of a config are called in ``distill()``."""

import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Callable, Iterator

from ..engine.rehearsal import HOW_TO_SKIP

# What messages for who has a config say, and what one says for who has called
# distill(): an argument, or nothing where there is none. The longer ones come
# before those that are parts of them.
_NAMES = {
    re.escape(HOW_TO_SKIP): '',
    # ---- advice
    r'set optim_wrapper\.architecture\.clip_grad=dict\(max_norm=5\) or lower '
    r'optim_wrapper\.architecture\.optimizer\.lr, and continue with '
    r'--resume\.': 'start again with a lower schedule=dict(lr=...), in '
    'another work_dir.',
    r'(The checkpoint before it is complete\. )?'
    r'(Set optim_wrapper\.architecture\.clip_grad=dict\(max_norm=5\) and '
    r'--resume from it, or s|S)tart again with a lower '
    r'optim_wrapper\.architecture\.optimizer\.lr'
    r'( or optim_wrapper\.\w+\.optimizer\.lr)?\.': 'Start again with a '
    'lower schedule=dict(lr=...), in another work_dir.',
    r'optim_wrapper\.architecture\.optimizer\.lr \(lr in the schedule of '
    r'distill\(\)\)': 'schedule=dict(lr=...)',
    r'init_rounds, rounds of SynthesisHook\), or more epochs': (
        'schedule=dict(init_rounds=..., rounds=...)), or a larger budget'
    ),
    r'\binit_iters of SynthesisHook': 'schedule=dict(init_iters=...)',
    r'\(iters\)': '(schedule=dict(iters=...))',
    r'that of loss_csd \(in synthesizer\.losses\)': (
        'loss_weights=dict(csd=...)'
    ),
    r'the weight of loss_(oh|bn|csd|adv)\b': r'loss_weights=dict(\1=...)',
    # Those of teachers without BN layers have no argument.
    r'\bloss_(?!patch\b|tv\b)(\w+)((?:, loss_(?:patch|tv))* of the synthesis '
    "became .*? Lower )the learning rate of the synthesizer's optimizer or "
    'the weight of that term': r'loss_\1\2loss_weights=dict(\1=...)',
    "the learning rate of the synthesizer's optimizer or the weight of a "
    'term': 'a weight of loss_weights=dict(...)',
    r'To choose others, set loss_weight=0 of BNStatisticsLoss '
    r'\(losses\.loss_bn in the configs\) and add yours to losses\.': (
        'loss_weights=dict(bn=0) leaves them out.'
    ),
    r'(?i)set val_dataloader\.dataset\.metainfo=dict\((classes=\[.*?\])\)': (
        r'give \1'
    ),
    r' (in|of) model\.data_preprocessor': '',
    r'; to change it, set model\.student_loss': '',
    r'train_cfg\.augments': 'augments',
    r'graph=True of \w+': 'graph=True',
    r' Set train_dataloader\.dataset\.held_out=0\.1 of an ImageBank that grows'
    ' to have students compared with the teacher.': '',
    'AgreementHook cannot tell': 'It cannot be told',
    'RefitHook left': 'refit=True left',
    'name one elsewhere with --resume FILE; or remove them and '
    'last_checkpoint, and --resume trains': 'or remove them and '
    'last_checkpoint, and the same call trains',
    '--resume starts': 'the same call starts',
    r'check model\.distiller \(its recorders, connectors and '
    r'loss_forward_mappings\) and model\.student_loss\.': (
        'look for parts that return something else in training than in eval '
        'mode (for maps, student_feature=... may name another part), and at '
        'loss_weights=dict(ce=...).'
    ),
    r'by None in place of the recorder, such as model\.distiller\.'
    r'student_recorders\.feature=None': 'by loss_weights=dict(feature=0)',
    r'in student_recorders\.feature\b': 'by student_feature=...',
    r'in teacher_recorders\.feature\b': 'by teacher_feature=...',
    # ---- places
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
    r'train_dataloader\.batch_size': 'schedule=dict(batch=...)',
    'batch_size of the synthesizer': 'schedule=dict(synthesis_batch=...)',
    'raise batch_size': 'raise schedule=dict(batch=...)',
    r'default_hooks\.checkpoint and hooks that write into it': 'work_dir',
    '--work-dir': 'work_dir',
}


# As whoever has called distill() names its arguments.
_NAMED: 'ContextVar[Callable[[str], str]]' = ContextVar('named', default=str)


def as_typed(text: str) -> str:
    """A message with arguments named as by whoever has called."""
    return _NAMED.get()(text)


def of_arguments(text: str) -> str:
    """A message for who has a config, for who has called ``distill()``."""
    for name, argument in _NAMES.items():
        text = re.sub(name, argument, text)
    return text


@contextmanager
def naming_arguments() -> Iterator[None]:
    """Let errors name arguments of ``distill()``, not settings of a config."""
    try:
        yield
    except Exception as error:
        _rename(error, of_arguments)
        raise


@contextmanager
def typed_as(named: Callable[[str], str]) -> Iterator[None]:
    """Let errors, lines and warnings name arguments in another way.

    Args:
        named (Callable): Returns a message with other names.
    """
    token = _NAMED.set(named)
    try:
        yield
    except Exception as error:
        _rename(error, named)
        raise
    finally:
        _NAMED.reset(token)


def _rename(error: Exception, named: Callable[[str], str]) -> None:
    if len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (named(error.args[0]),)
    elif isinstance(error, OSError) and error.strerror:
        error.strerror = named(error.strerror)
