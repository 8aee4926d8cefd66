# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What ``python -m csd_mmrazor distill`` says in the end."""

import signal
from types import SimpleNamespace as Some

import pytest

from csd_mmrazor.cli.distill import (
    arguments_of,
    as_options,
    main,
    parse_args,
    told_of,
)
from csd_mmrazor.utils.accuracy import AccuracyEstimate

UNKNOWN = dict(top1=None, teacher_top1=None, agreement=None, estimate=None)
SHOWN = (
    ' gives the same class as its teacher on 87.5 % of the images that were '
    'held out from its training'
)


@pytest.mark.parametrize(
    'known, told',
    [
        ({}, ''),
        (dict(top1=90.0, teacher_top1=99.0), ' reaches 90.00 %, its teacher '),
        (dict(agreement=87.5), f'{SHOWN}. No accuracy could be estimated'),
        (
            dict(agreement=87.5, estimate=AccuracyEstimate(80, 60, 91.25)),
            f"{SHOWN}. Estimated accuracy: 80.0 % of the teacher's, interval "
            '60.0 to 91.2 %',
        ),
    ],
)
def test_how_good_the_student_is(known, told):
    found = told_of(Some(**{**UNKNOWN, **known}))
    assert found.startswith(told) and bool(found) == bool(told)


@pytest.mark.parametrize(
    'said, expected',
    [
        ("budget='3x' should be a time", '--budget 3x should be a time'),
        ('leave out refit=True.', 'leave out --refit.'),
        ('teacher_blocks=False lets it', '--no-teacher-blocks lets it'),
        ('with schedule=dict(lr=0.1, batch=64)', 'with --schedule lr=0.1 b'),
        ('lower schedule=dict(lr=...)', 'lower --schedule lr=N'),
        ('(0..1: mean=0, std=1/255)', '(0..1: --mean 0, --std 1/255)'),
        ('mean=[0.5, 0.25] and std=(1, 2)', '--mean 0.5,0.25 and --std 1,2'),
        ("give classes=['a', 'b c'].", "give --classes 'a,b c'."),
        ('work_dir=runs/a has a run', '--out runs/a has a run'),
        ('another work_dir=...', 'another --out ...'),
        ('Give its weights by teacher_weights=FILE,', 'by --teacher-weights'),
        ('images of image_shape=(1, 8, 8)', 'of --image-shape 1,8,8'),
        ('give both, or mean=None.', 'or no --mean.'),
        ('schedule=dict(lr=(1, 2))', 'schedule=dict(lr=(1, 2))'),
        ('by teacher_args or student_args.', '--teacher-args or --student-'),
        ('another work_dir, and', 'another --out, and'),
        ('gets that by teacher_args=dict(n=4).', 'by --teacher-args n=4.'),
        ('std should be above 0', '--std should be above 0'),
        ("schedule['lr'] should be", '--schedule lr should be'),
        ('val images should be read', 'val images should be read'),
        # What are other things.
        ('runs/work_dir and work_dir/a', 'runs/work_dir and work_dir/a'),
        ('model.image_shape', 'model.image_shape'),
        ('model.teacher=dict(a=1)', 'model.teacher=dict(a=1)'),
        ('the teacher = 3, seeds=4', 'the teacher = 3, seeds=4'),
    ],
)
def test_errors_name_options(said, expected):
    assert expected in as_options(said)


def test_fractions():
    common = ('--teacher', 'a', '--student', 'b', '--image-shape', '3,8,8')
    args = parse_args([*common, '--mean', '0', '--std', '1/255,0.5/2,1/0'])
    found = arguments_of(args)
    assert found['mean'] == [0]
    assert found['std'] == [1 / 255, 0.25, '1/0']


@pytest.mark.parametrize('command', ['distill', 'plan'])
def test_ctrl_c(command, monkeypatch, capsys):
    """Of a plan, nothing is there to be continued."""

    def interrupted(**arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr('csd_mmrazor.cli.distill.distill', interrupted)
    common = ('--teacher', 'a', '--student', 'b', '--image-shape', '3,8,8')
    name = f'python -m csd_mmrazor {command}'
    monkeypatch.setattr('sys.argv', [name, *common])
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130
    told = capsys.readouterr().err.strip()
    more = ' The same command continues this run.'
    assert told == 'Interrupted.' + (more if command == 'distill' else '')
