# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Distil any two networks by one command; see csd_mmrazor.distill()."""

import argparse
import inspect
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ..api import Run, distill
from ..api.argument_names import typed_as
from ..api.config import METHODS, TASKS
from .errors import concise_errors
from .options import parse_value
from .parser import Parser
from .processes import speak_utf8

# What distill() is told of: an argument's name, and its value.
_NAMES = [*inspect.signature(distill).parameters]
_ARGUMENT = re.compile(
    rf'(?<![\w.])({"|".join(_NAMES)})='
    r'(dict\([^()]*\)|\[[^\]]*\]|\([^()]*\)|"[^"]*"|\'[^\']*\'|[^\s,;:()]*'
    r'[^\s,;:().]|\.\.\.)'
)
# One that a sentence begins with, perhaps with one of its keys.
_FIRST = re.compile(rf'^({"|".join(_NAMES)})(?:\[\'(\w+)\'\])? should\b')
# One that is no word of a sentence.
_NAME = re.compile(
    rf'(?<![\w./\\-])({"|".join(each for each in _NAMES if "_" in each)})'
    r'(?![\w/\\=(]|\.\w)'
)


class KeyValues(argparse.Action):
    """Reads ``key=value`` pairs into a dict."""

    def __call__(self, parser, namespace, values, option_string=None):
        found = dict(getattr(namespace, self.dest) or {})
        for word in values:
            key, is_pair, value = word.partition('=')
            if not is_pair or not key.isidentifier():
                parser.error(
                    f'{option_string} takes key=value pairs, but got "{word}"'
                )
            try:
                found[key] = parse_value(value)
            except ValueError as error:
                parser.error(f'{option_string} {word}: {error}')
        setattr(namespace, self.dest, found)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    does = 'Plan how to train' if sys.argv[0].endswith(' plan') else 'Train'
    parser = Parser(
        description=f'{does} a small network to do what a large one does, '
        'without the images that the large one was trained on.'
    )
    for name, which in (('teacher', 'trained'), ('student', 'small')):
        group = parser.add_argument_group(f'the {name}')
        group.add_argument(
            f'--{name}',
            required=True,
            help=f'the {which} network: FILE.py:Name or package.Name of a '
            'class or function, a model of mmpretrain, or a config file',
        )
        group.add_argument(
            f'--{name}-weights',
            metavar='FILE',
            help='its weights'
            if name == 'teacher'
            else 'weights that it starts from',
        )
        group.add_argument(
            f'--{name}-args',
            nargs='+',
            action=KeyValues,
            metavar='key=value',
            help='arguments of what makes it',
        )
        group.add_argument(
            f'--{name}-feature',
            metavar='MODULE',
            help='the module that returns its last feature map, where it is '
            'not found',
        )
    group.add_argument(
        '--student-pooled',
        metavar='MODULE',
        help='the module that returns its pooled feature',
    )
    group.add_argument(
        '--teacher-blocks',
        action=argparse.BooleanOptionalAction,
        help='start from blocks of the teacher, of which the student has '
        'fewer; default: if it can',
    )
    group.add_argument(
        '--refit',
        action=argparse.BooleanOptionalAction,
        help='fit a student that was pruned from the teacher to it, before '
        'training; default: if its weights are still those of the teacher',
    )
    group = parser.add_argument_group('the images')
    group.add_argument(
        '--image-shape',
        required=True,
        nargs='+',
        metavar='C,H,W',
        help='channels, height and width, such as 3,32,32',
    )
    for name in ('mean', 'std'):
        group.add_argument(
            f'--{name}',
            nargs='+',
            metavar='X,Y,Z',
            help=f"{name} of the teacher's training images, in 0..1 or "
            '0..255; left out if the networks take images in 0..1',
        )
    group.add_argument(
        '--classes',
        metavar='K',
        help="their number, or names in the order of the teacher's logits, as "
        'the folders of --val and --init-bank are called: a,b,c',
    )
    group.add_argument(
        '--val',
        metavar='FOLDER',
        help='images to measure accuracy on, FOLDER/<class>/*',
    )
    group.add_argument(
        '--augment',
        nargs='+',
        action=KeyValues,
        metavar='key=value',
        help='random crop and flip: padding=4 flip_prob=0.5',
    )
    group.add_argument(
        '--no-augment', action='store_true', help='leave images as they are'
    )
    group.add_argument(
        '--init-bank',
        metavar='FOLDER',
        help='images to start with: the bank of another run, or a folder',
    )
    group.add_argument(
        '--init-labels',
        choices=['folders', 'teacher'],
        default='folders',
        help='whether their folders name their classes, or the teacher '
        'labels them; default: %(default)s',
    )
    group = parser.add_argument_group('the run')
    group.add_argument(
        '--budget',
        default='15min',
        help='a time (90s, 15min, 1h30min), a number of student steps, or '
        '"paper"; default: %(default)s',
    )
    group.add_argument(
        *('--out', '--work-dir'),
        metavar='DIR',
        default='runs/distill',
        help='folder of the run, which the same command continues; default: '
        '%(default)s',
    )
    group.add_argument(
        '--method',
        choices=[*METHODS],
        help='how images are made; default: csd for the budget "paper", or '
        'if --aux-task or a weight of its term is given, else plain',
    )
    group.add_argument(
        '--aux-task',
        choices=['auto', *TASKS],
        default='auto',
        help='the task of the auxiliary head',
    )
    for name, text in dict(
        loss_weights='weights of losses: oh, bn, csd, adv, ce, kd, feature',
        schedule='numbers of the schedule that are to differ, such as '
        'batch=64',
    ).items():
        group.add_argument(
            f'--{name.replace("_", "-")}',
            nargs='+',
            action=KeyValues,
            metavar='key=value',
            help=text,
        )
    group.add_argument(
        '--teacher-license',
        metavar='ID',
        help='what the teacher may be used under, such as apache-2.0, for '
        "the student's model card",
    )
    group.add_argument(
        '--onnx',
        action='store_true',
        help='write the student as student/student.onnx, too',
    )
    group.add_argument(
        '--program',
        action='store_true',
        help='... as a program of torch.export, student/student.pt2',
    )
    group.add_argument('--seed', type=int, default=0, help='default: 0')
    group.add_argument(
        '--device', choices=['cpu', 'cuda'], help='default: a GPU if any'
    )
    group.add_argument(
        '--amp',
        choices=['bfloat16', 'float16'],
        help='train in mixed precision',
    )
    group.add_argument(
        '--keep-targets',
        action='store_true',
        help="keep the teacher's answers with the images: student steps need "
        'no pass of it',
    )
    group.add_argument(
        '--compile',
        nargs='?',
        const=True,
        default=False,
        choices=['reduce-overhead'],
        help='compile steps of synthesis by torch.compile; for a budget of '
        'steps',
    )
    group.add_argument(
        '--graph',
        action='store_true',
        help='replay steps of synthesis as a CUDA graph, on a GPU',
    )
    args = parser.parse_args(argv)
    if args.no_augment and args.augment:
        parser.error('give --augment or --no-augment')
    if args.classes and Path(args.classes).is_file():
        parser.error(
            f'--classes {args.classes} is a file: give the number of classes, '
            'or their names, a,b,c, such as by --classes '
            f'"$(paste -sd, {shlex.quote(args.classes)})"'
        )
    return args


def arguments_of(args: argparse.Namespace) -> Dict[str, Any]:
    """The arguments of ``distill()``."""
    found = dict(vars(args))
    found['work_dir'] = found.pop('out')
    no_augment = found.pop('no_augment')
    found['augment'] = None if no_augment else found['augment'] or 'auto'
    # With spaces, too.
    for name in ('image_shape', 'mean', 'std'):
        if found[name] is not None:
            parts = [part.strip(', ') for part in found[name]]
            found[name] = _listed(','.join(parts))
    if args.classes is not None:
        is_number = args.classes.strip().isdecimal()
        found['classes'] = (
            int(args.classes) if is_number else _names(args.classes)
        )
    return found


def _names(text: str) -> List[str]:
    """Names as folders have them: 01 and true stay texts."""
    text = text.strip()
    if text[:1] == '[' and text[-1:] == ']':  # as Python has them
        text = text[1:-1]
    parts = [part.strip() for part in text.split(',')]
    is_quoted = [len(p) > 1 and p[0] == p[-1] and p[0] in '\'"' for p in parts]
    return [p[1:-1] if q else p for p, q in zip(parts, is_quoted)]


def _listed(text: str) -> List[Any]:
    """Numbers, in brackets or without; 1/255 is one."""
    value = parse_value(text)
    values = value if isinstance(value, (list, tuple)) else [value]
    return [_fraction(value) for value in values]


def _fraction(value: Any) -> Any:
    match = re.fullmatch(r'([\d.]+)/([1-9]\d*)', f'{value}')
    try:
        return float(match[1]) / int(match[2]) if match else value
    except ValueError:
        return value


def as_options(text: str) -> str:
    """A message for who has called ``distill()``, for who types a command.

    Args:
        text (str): With arguments as Python has them, such as ``std=[1, 2]``.

    Returns:
        str: With ``--std 1,2`` in their place.
    """

    def option(match: 're.Match[str]') -> str:
        name = _option(match[1])
        value = match[2]
        if value == 'dict':  # with more in it than is read here
            return match[0]
        if value in ('False', 'None'):
            has_no = name in ('augment', 'refit', 'teacher-blocks')
            return f'--no-{name}' if has_no else f'no --{name}'
        if value == 'True':
            return f'--{name}'
        if value.startswith('dict('):
            # A number that is not named would end a sentence with four dots.
            values = value[5:-1].replace(', ', ' ').replace('...', 'N')
            return f'--{name} {values}'
        if value[0] in '[(':
            parts = [part.strip(' \'"') for part in value[1:-1].split(',')]
            value = ','.join(parts)
        value = value.strip('\'"')
        return f'--{name} {shlex.quote(value) if " " in value else value}'

    def name(match: 're.Match[str]') -> str:
        return f'--{_option(match[1])}'

    text = _FIRST.sub(
        lambda match: (
            f'--{_option(match[1])}'
            + f' {match[2]}' * bool(match[2])
            + ' should'
        ),
        text,
    )
    return _NAME.sub(name, _ARGUMENT.sub(option, text))


def _option(argument: str) -> str:
    return {'work_dir': 'out'}.get(argument, argument.replace('_', '-'))


def main() -> None:
    """Run the command line."""
    speak_utf8()
    plan_only = sys.argv[0].endswith(' plan')
    args = parse_args()
    # As with ``python FILE``: what is beside it can be imported.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    go_on = '' if plan_only else 'The same command continues this run.'
    with concise_errors(go_on), typed_as(as_options):
        run = distill(**arguments_of(args), plan_only=plan_only)
    if plan_only:
        return
    student = run.work_dir / 'student'
    print(
        f'\nThe student{told_of(run)}. '
        + (f'It is in {student}' if student.is_dir() else 'It is not exported')
        + f'; the config is {run.config}'
        + (f', the report {run.report}.' if run.report else '.')
    )


def told_of(run: Run) -> str:
    """How good a student is, as far as that is known."""
    if run.top1 is not None:
        return (
            f' reaches {run.top1:.2f} %, its teacher {run.teacher_top1:.2f} %'
        )
    if run.agreement is None:
        return ''
    told = (
        f' gives the same class as its teacher on {run.agreement:.1f} % of '
        'the images that were held out from its training'
    )
    if run.estimate is None:
        return f'{told}. No accuracy could be estimated from that'
    return f'{told}. Estimated accuracy: {run.estimate}'
