# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``python -m csd_mmrazor``: what the arguments become, and whole commands."""

import re
import sys

import pytest
import torch
from helpers import TINY

from csd_mmrazor.cli.commands import COMMANDS, main
from csd_mmrazor.cli.distill import arguments_of, parse_args
from csd_mmrazor.version import __version__

LEAST = ('--teacher', 'a.py:Net', '--student', 'b.py:Net', '--image-shape')


@pytest.mark.parametrize(
    'options, expected',
    [
        ((), dict(image_shape=[3, 32, 64], augment='auto', budget='15min')),
        (('--mean', '.1,.2,0.3'), dict(mean=[0.1, 0.2, 0.3])),
        (('--mean', '.1', '.2', '0.3'), dict(mean=[0.1, 0.2, 0.3])),
        (('--mean', '[.1,', '.2,', '0.3]'), dict(mean=[0.1, 0.2, 0.3])),
        (('--mean', '33', '--std', '78'), dict(mean=[33], std=[78])),
        (('--classes', '10'), dict(classes=10)),
        (('--classes', 'cat,dog,7'), dict(classes=['cat', 'dog', '7'])),
        # Names of folders mean nothing else.
        (('--classes', '01,02'), dict(classes=['01', '02'])),
        (('--classes', 'true, 1e5'), dict(classes=['true', '1e5'])),
        (('--classes', '"a b","7"'), dict(classes=['a b', '7'])),
        (('--classes', '["a", "b c"]'), dict(classes=['a', 'b c'])),
        (('--mean', '[.1, .2]', '--std', '(3)'), dict(mean=[0.1, 0.2])),
        (('--no-augment',), dict(augment=None)),
        (
            ('--augment', 'padding=2', 'flip_prob=0'),
            dict(augment=dict(padding=2, flip_prob=0)),
        ),
        (
            ('--teacher-args', 'width=32', 'act=relu', 'sizes=[1,2]'),
            dict(teacher_args=dict(width=32, act='relu', sizes=[1, 2])),
        ),
        (('--loss-weights', 'bn=0.5'), dict(loss_weights=dict(bn=0.5))),
        (('--out', 'runs/a', '--budget', '90'), dict(work_dir='runs/a')),
        (('--work-dir', 'runs/a'), dict(work_dir='runs/a')),
        (('--compile',), dict(compile=True, graph=False, keep_targets=False)),
        (('--compile', 'reduce-overhead'), dict(compile='reduce-overhead')),
        (('--graph', '--keep-targets'), dict(graph=True, keep_targets=True)),
    ],
)
def test_arguments(options, expected):
    found = arguments_of(parse_args([*LEAST, '3,32,64', *options]))
    assert {k: found[k] for k in expected} == expected


@pytest.mark.parametrize(
    'command, arguments',
    [
        ('distill', [*LEAST, '1,8,8']),
        ('plan', [*LEAST, '1,8,8']),
        ('export', ['run', 'out.pth']),
        ('quantize', ['run', '--to', 'int8']),
        ('estimate', ['run']),
        ('report', ['run']),
    ],
)
@pytest.mark.parametrize('name', ['WORLD_SIZE', 'OMPI_COMM_WORLD_SIZE'])
def test_what_is_for_one_process(
    name, command, arguments, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, '2')
    monkeypatch.setattr(sys, 'argv', ['csd_mmrazor', command, *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code
    told = capsys.readouterr().err + str(stopped.value.code)
    assert f'is for one process, but there are 2 ({name}=2)' in told
    assert ('tools/dist_train.sh' in told) == (command in ('distill', 'plan'))
    assert not any(tmp_path.iterdir())


def test_the_command_has_each_argument_of_the_call():
    from inspect import signature

    from csd_mmrazor import distill

    found = arguments_of(parse_args([*LEAST, '1,8,8']))
    assert {*found, 'plan_only'} == {*signature(distill).parameters}
    defaults = {
        name: each.default
        for name, each in signature(distill).parameters.items()
        if each.default is not each.empty and name in found
    }
    assert {k: found[k] for k in defaults} == defaults


@pytest.mark.parametrize(
    'options, message',
    [
        (('--teacher-args', 'width'), 'key=value pairs, but got "width"'),
        (('--augment', 'padding=1', '--no-augment'), 'or --no-augment'),
        (('--method', 'dafl'), 'invalid choice'),
        (('--init-labels', 'x'), 'invalid choice'),
    ],
)
def test_wrong_options(options, message, capsys):
    with pytest.raises(SystemExit):
        parse_args([*LEAST, '1,8,8', *options])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('name', ['', 'destil', '--help'])
def test_other_commands(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['csd_mmrazor', *filter(None, [name])])
    if name == '--help':
        main()
        text = capsys.readouterr().out
    else:
        with pytest.raises(SystemExit) as error:
            main()
        text = error.value.code
    assert all(command in text for command in COMMANDS)
    assert ("Did you mean 'distill'?" in text) == (name == 'destil')


def arguments(home, out):
    return [
        *('--teacher', 'tiny_net_of_a_user.py:Net', '--teacher-args'),
        *('width=16', '--teacher-weights', 't.pth'),
        *('--student', 'tiny_net_of_a_user.make', '--student-args', 'width=4'),
        *('--classes', 'a,b,c', '--image-shape', '1,12,12'),
        *('--mean', '0.4', '--std', '0.3', '--val', 'val', '--budget', '20'),
        *('--schedule', *(f'{key}={value}' for key, value in TINY.items())),
        *('--device', 'cpu', '--out', out),
    ]


def test_from_files_to_a_student(home, forked, tmp_path):
    """In the folder of the files: planned, trained, continued, exported."""
    out = tmp_path / 'out'
    options = arguments(home, out)
    planned = forked('plan', *options, cwd=home, module='csd_mmrazor')
    assert planned.status == [0], planned.output
    assert re.search(r'plan: .* images: .*student: ', planned.stdout, re.S)
    assert not out.exists()
    done = forked('distill', *options, cwd=home, module='csd_mmrazor')
    assert done.status == [0], done.output
    top1 = re.search(r'reaches ([\d.]+) %, its teacher ([\d.]+)', done.stdout)
    assert float(top1[2]) > 80
    # The student's first weights are those of the seed.
    other = forked(
        *('distill', *arguments(home, tmp_path / 'other')),
        cwd=home,
        module='csd_mmrazor',
    )
    assert other.status == [0] and top1[0] in other.stdout
    first, second = (
        torch.load(each / 'networks/student.pth', weights_only=True)
        for each in (out, tmp_path / 'other')
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    again = forked('distill', *options, cwd=home, module='csd_mmrazor')
    assert again.status == [0] and top1[0] in again.stdout
    weights = torch.load(out / 'student/student.pth', weights_only=True)
    net = sys.modules['tiny_net_of_a_user'].Net(4)
    net.load_state_dict(weights)
    exported = forked(
        'export', out, tmp_path / 'a.pth', module='csd_mmrazor', cwd=home
    )
    assert exported.status == [0], exported.output


def test_an_error_is_one_line(home, forked, tmp_path):
    options = [*arguments(home, tmp_path / 'out'), '--mean', '120']
    done = forked('distill', *options, cwd=home, module='csd_mmrazor')
    assert done.status == [1] and 'Traceback' not in done.stderr
    assert 'ValueError: --mean 120.0 and --std 0.3 ref' in done.stderr


def test_a_file_of_class_names(tmp_path, capsys):
    path = tmp_path / 'classes.txt'
    path.write_text('cat\ndog\n')
    with pytest.raises(SystemExit):
        parse_args([*LEAST, '1,8,8', '--classes', str(path)])
    told = ' '.join(capsys.readouterr().err.split())
    assert 'classes.txt is a file: give the number of classes' in told
    assert 'paste -sd,' in told


def test_the_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['csd_mmrazor', '--version'])
    main()
    assert capsys.readouterr().out == f'csd_mmrazor {__version__}\n'
