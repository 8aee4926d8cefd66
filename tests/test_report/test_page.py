# Copyright (c) csd_mmrazor developers. All rights reserved.
import base64
import gzip
import html
import io
import json
import os
import re
import shutil
import uuid

import numpy as np
import pytest
import torch
from mmengine.fileio import FileClient, HardDiskBackend
from mmengine.logging import MMLogger
from PIL import Image
from report_helpers import compare_with_teacher

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.report import page as page_module
from csd_mmrazor.report import run_files, write_report
from csd_mmrazor.report.page import packed_plotly
from csd_mmrazor.report.run_files import read_run
from csd_mmrazor.report.views import how_often, times_less
from csd_mmrazor.utils.agreement import estimate_of

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)>'


def read(path):
    """A page's text, and the data of its script."""
    text = path.read_text(encoding='utf-8')
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', text
    )
    return text, json.loads(found[1])


def visible(text):
    """A page without what is embedded, as a person may read it."""
    text = re.sub(r'<(script|style)\b.*?</\1>', '', text, flags=re.DOTALL)
    return html.unescape(re.sub(r'\s+', ' ', re.sub('<[^>]*>', ' ', text)))


@pytest.mark.parametrize(
    'number, expected',
    [(0, 'never'), (1, 'once'), (2, 'twice'), (3, '3 times')],
)
def test_how_often(number, expected):
    assert how_often(number) == expected


def test_warnings_of_mmengine_about_itself_are_left_out(work_dir, tmp_path):
    """As it writes them; what a run's settings cause is shown."""
    log = tmp_path / 'own.log'
    logger = MMLogger.get_instance(uuid.uuid4().hex, log_file=str(log))
    FileClient('disk')
    HardDiskBackend()
    logger.warning('"file_client_args" will be deprecated in future.')
    written = log.read_text()
    assert '"FileClient" will be' in written
    assert '"HardDiskBackend" is' in written
    (old,) = work_dir.glob('20260101_12*/*.log')
    old.write_text(written)
    shown = [each['text'] for each in read_run(work_dir).warnings]
    assert shown == [
        'Beware of the dog',
        '"file_client_args" will be deprecated in future.',
    ]


def test_all_of_a_run_is_on_its_page(work_dir):
    out = write_report([work_dir])
    assert out == work_dir / 'report.html'
    text, data = read(out)
    seen = visible(text)
    for part in (
        'student, best 70.00 % (epoch 3)',
        'teacher 96.55 %',  # 28 of 29
        'weights 4,000 1,000 4.0 times fewer',
        'multiplications for an image 0.09 M 0.03 M 3.0 times fewer',
        'time for 32 images 20.00 ms 5.00 ms 4.0 times faster',
        'accuracy on real images (student of epoch 2) 96.55 % 62.07 %',
        'cat 9 100.0 88.9',
        'frog 10 90.0 0.0',
        'frog cat 10',  # taken for
        'images in the bank 60',
        'resumed once',
        'started 2026-01-01 10:00:00',
        'resumed 2026-01-01 12:00:00',
        'Warnings of the log (2)',
        'Beware of the dog',
        'model.image_shape (3, 8, 8)',
        'torch 2.11.0',
        'MMEngine 0.10.7',
        'student and auxiliary head 0:03:00',
    ):
        assert part in seen, part
    assert 'Parts that this page lacks' not in seen
    titles = {plot['title'] for plot in data['runs'][0]['plots']}
    assert titles >= {
        'Accuracy on real images',
        'Losses of the student',
        'Accuracy of each class',
        'Confusion of the student',
        'Confusion of the teacher',
        'Time by phase',
    }
    # Rounds are made before the epoch that is validated.
    plots = {plot['title']: plot for plot in data['runs'][0]['plots']}
    new = plots['Who recognises the new images, before they are trained on']
    assert new['series'][0]['x'] == [1, 2, 3]
    assert new['series'][0]['y'] == [90, 91, 92]
    matrix = plots['Confusion of the student']['series'][0]['y']
    assert matrix == [[8, 1, 0], [0, 10, 0], [10, 0, 0]]


@pytest.mark.parametrize(
    'ratio, told',
    [(4, '4.0 times fewer'), (0.5, '2.0 times more'), (0.97, 'as many')],
)
def test_a_student_may_be_larger(ratio, told):
    assert times_less(ratio, 'fewer', 'more', 'as many') == told


def test_nothing_tells_where_it_was_made(work_dir, tmp_path):
    """Neither settings, warnings nor what is lacking; of several runs too."""
    (log,) = work_dir.glob('20260101_12*/*.log')
    with open(log, 'a') as file:
        file.write(
            '2026/01/01 12:00:09 - mmengine - WARNING - Beware of '
            f'{tmp_path}/dog.py:3\n'
        )
    (config,) = work_dir.glob('20260101_12*/vis_data/config.py')
    other = tmp_path / 'other'
    shutil.copytree(work_dir, other)
    for path, folder in ((config, 'a'), (other, 'b')):
        file = path if path.is_file() else path / config.relative_to(work_dir)
        with open(file, 'a') as opened:
            opened.write(f'load_from = {str(tmp_path / folder / "w.pth")!r}\n')
            opened.write(f'work_dir = {str(work_dir)!r}\n')
    (work_dir / 'report.json').write_text('{')
    for work_dirs in ([work_dir], [work_dir, other]):
        out = write_report(work_dirs, tmp_path / 'page.html')
        page = out.read_text()
        assert str(tmp_path) not in page and tmp_path.name not in page
        text, data = read(out)
        seen = visible(text)
        assert "load_from 'w.pth'" in seen and 'Beware of dog.py:3' in seen
        assert "work_dir 'run'" in seen and 'report.json' in seen
    # Two files of one name are still two files.
    assert "load_from 'w.pth' 'w.pth'" in seen
    assert "work_dir 'run' 'run'" not in seen


@pytest.mark.parametrize(
    'logged, saved, said',
    [
        # The third epoch of 3 was begun.
        ({}, None, '2 of 3 epochs done'),
        ({}, 2, '2 of 3 epochs done'),
        ({}, 3, 'finished: 3 epochs'),
        ({'agreement/held_out_top1': 3}, None, 'finished: 3 epochs'),
        ({'accuracy/top1': 3}, None, 'finished: 3 epochs'),
        # What is validated every second epoch.
        ({'accuracy/top1': 2}, None, '2 of 3 epochs done'),
        ({'accuracy/top1': 2}, 3, 'finished: 3 epochs'),
    ],
)
def test_how_far_it_came(logged, saved, said, work_dir):
    for path in work_dir.glob('*/vis_data/scalars.json'):
        lines = path.read_text().splitlines(True)
        lines = [line for line in lines if 'accuracy/top1' not in line]
        path.write_text(''.join(lines))
    with open(path, 'a') as file:
        for tag, epoch in logged.items():
            file.write(json.dumps({tag: 50.0, 'step': epoch}) + '\n')
    if saved:
        (work_dir / f'epoch_{saved}.pth').touch()
    (work_dir / 'epoch_x.pth').touch()
    assert said in visible(write_report([work_dir]).read_text())


@pytest.mark.parametrize(
    'changed, estimated',
    [
        ({}, True),
        (dict(agreement_mean__held_out_confident=150), False),
        (dict(agreement_mean__held_out_confident_images=0), False),
        (dict(agreement__held_out_recognised=20), False),
        (dict(agreement_mean__held_out_chance=90), False),
        (dict(agreement__chosen_epoch=float('inf')), None),
        (dict(agreement__chosen_epoch=9), None),
    ],
)
def test_an_accuracy_is_estimated(changed, estimated, work_dir):
    agreement = compare_with_teacher(work_dir, **changed)
    seen = visible(write_report([work_dir]).read_text())
    is_known = estimated is not None
    assert ('on 70.0 % of 30 synthetic images' in seen) == is_known
    estimate = f'estimated accuracy {estimate_of(agreement)}'
    assert (estimate in seen) == bool(estimated)
    assert ('no accuracy is estimated' in seen) == (estimated is False)


def test_its_images_are_those_of_the_bank(work_dir):
    text, data = read(write_report([work_dir]))
    bank = BankFolder(work_dir / 'bank')
    gallery = data['runs'][0]['gallery']
    assert [r['name'] for r in gallery['rounds']] == [
        'initial, round 2',
        'initial, round 1',
        'epoch 1',
        'epoch 2',
        'epoch 3',
    ]
    assert len(gallery['images']) == 60
    for number, shard in enumerate(bank.shards):
        sprite = gallery['rounds'][number]['sprite']
        rule = re.search(rf'\.{sprite["css"]} .*?base64,([^)]*)\)', text)
        grid = np.asarray(Image.open(io.BytesIO(base64.b64decode(rule[1]))))
        images, labels = bank.read(shard)
        shown = [each for each in gallery['images'] if each[0] == number]
        pixels = []
        for _, place, label, score in shown:
            top = place // sprite['columns'] * 8
            left = place % sprite['columns'] * 8
            cell = grid[top : top + 8, left : left + 8].transpose(2, 0, 1)
            index = next(
                i for i, image in enumerate(images) if (image == cell).all()
            )
            pixels.append(index)
            assert label == labels[index]
            assert score[0] == pytest.approx(number + index / 12)
        assert sorted(pixels) == list(range(12))


def test_it_is_one_file(work_dir):
    text, _ = read(write_report([work_dir]))
    assert not re.findall(r'(?:src|href)\s*=', re.sub(r'<script.*', '', text))
    packed = re.search(r'id="plotly">(.*?)</script>', text)[1]
    assert packed == packed_plotly()[0]
    source = gzip.decompress(base64.b64decode(packed)).decode()
    assert 'plotly.js v' in source[:200]
    assert text.count(packed) == 1


def test_runs_side_by_side(work_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    others = [tmp_path / name for name in ('b', 'other/run')]
    for other in others:
        shutil.copytree(work_dir, other)
    config = others[0] / '20260101_120000/vis_data/config.py'
    config.write_text(config.read_text().replace('seed=0', 'seed=7'))
    out = write_report([work_dir, *others])
    assert out.resolve() == tmp_path / 'report.html'
    text, data = read(out)
    seen = visible(text)
    # Runs of the same name are told apart.
    names = [f'{tmp_path.name}/run', f'{tmp_path.name}/b', 'other/run']
    assert [run['name'] for run in data['runs']] == names
    assert 'randomness.seed 0 7 0' in seen
    assert 'student, best 70.00 % (epoch 3) 70.00 %' in seen
    plot = data['comparison'][0]
    assert [series['name'] for series in plot['series']] == names
    assert text.count('id="plotly"') == 1


def test_a_bank_of_cifar_stays_below_10_mb(tmp_path):
    """With noise, which no compression makes smaller."""
    rng = np.random.default_rng(0)
    bank = BankFolder(tmp_path / 'run/bank', (3, 32, 32), 10)
    for index in range(40):
        images = rng.integers(0, 256, (100, 3, 32, 32), dtype=np.uint8)
        bank.append(images, np.arange(100) % 10, index - 1, 0, True)
    out = write_report([tmp_path / 'run'])
    _, data = read(out)
    assert len(data['runs'][0]['gallery']['images']) > 900
    assert out.stat().st_size < 10e6


DAMAGES = {
    'no log': ('*/*.log', None, 'there is no log'),
    'no curves': ('*/vis_data/scalars.json', None, 'Curves: there is no'),
    'cut curves': (
        '*/vis_data/scalars.json',
        '{"accuracy/top1": 3, "step": 1}\n{"accu',
        '2 lines of scalars.json could not be read',
    ),
    'numbers that are none': (
        '*/vis_data/scalars.json',
        '{"accuracy/top1": NaN, "loss": Infinity, "step": 1}\n'
        '{"accuracy/top1": 1e999, "step": 2}\n'
        '{"accuracy/top1": 70, "step": 3}\n'
        '{"accuracy/top1": 1, "step": NaN}\n'
        f'{{"accuracy/top1": {"9" * 400}, "step": 4}}\n'
        '{"accuracy/top1": "high", "epoch": "last", "step": 5}\n'
        '{"accuracy/top1": true, "step": 5.5}\n[1]\n7\nnull\n',
        'lines of scalars.json could not be read',
    ),
    'nested curves': (
        '*/vis_data/scalars.json',
        '{"a":' * 200_000,
        '2 lines of scalars.json',
    ),
    'no settings': ('*/vis_data/config.py', None, 'Settings: no config'),
    'settings that run': (
        '*/vis_data/config.py',
        'import os\nos.mkdir("executed")',
        'nothing out of such a file is run',
    ),
    'nested settings': (
        '*/vis_data/config.py',
        f'a = {"(" * 5000}1{")" * 5000}',
        'not the text of a config',
    ),
    'settings in bytes': ('*/vis_data/config.py', b'\xff\xfe\0', 'Settings'),
    'other kinds of settings': (
        '*/vis_data/config.py',
        'train_cfg = 3\ndefault_hooks = [1]\nmodel = {1: {(): nan}}',
        None,
    ),
    'a bank elsewhere': (
        '*/vis_data/config.py',
        'default_hooks = dict(synthesis=dict(bank_dir="../../../etc"))',
        None,
    ),
    'no measurements': ('report.json', None, 'there is no report.json'),
    'nested measurements': (
        'report.json',
        '{"version": 1, "images": ' + '[' * 100_000,
        'nested too deeply',
    ),
    'another version': ('report.json', '{"version": 2}', 'version 2'),
    'a list': ('report.json', '[]', 'what it holds should be a dict'),
    'bytes': ('report.json', b'\xff\xff', 'report.json cannot be used'),
    'nothing': ('report.json', '', 'report.json cannot be used'),
    'NaN in scores': (
        'report.json',
        '{"version": 1, "images": {"scores": [["a", 0, NaN, 0, 0, 0]]}}',
        'scores should be a number',
    ),
    'short scores': (
        'report.json',
        '{"version": 1, "images": {"scores": [["a", 0]]}}',
        'report.json cannot be used',
    ),
    'negative answers': (
        'report.json',
        '{"version": 1, "validation": {"student": {"counts": [[-1, 0, 1]]}}}',
        'student.counts should be a number',
    ),
    'many classes': (
        'report.json',
        '{"version": 1, "validation": {"student": '
        '{"counts": [[999999, 0, 1], [3, 7, 2]]}}}',
        None,
    ),
    'an answer beyond all classes': (
        'report.json',
        '{"version": 1, "validation": {"student": {"counts": [[1, 1e9, 1]]}}}',
        'student.counts',
    ),
    'zeros': (
        'report.json',
        '{"version": 1, "networks": {"teacher": {"weights": 0, "bytes": 0, '
        '"milliseconds": {"1": 0}}, "student": {"weights": 0}}, '
        '"validation": {"student": {"counts": [[0, 0, 0]]}}}',
        None,
    ),
    'no manifest': ('bank/manifest.json', None, 'there is no image bank'),
    'a manifest of nothing': ('bank/manifest.json', '{}', 'manifest of the'),
    'a nested manifest': ('bank/manifest.json', '[' * 10**5, 'manifest of'),
    'a shard is lost': ('bank/000001.npy', None, '000001.npy of the image'),
    'a shard is cut': ('bank/000001.npy', b'short', '000001.npy of the image'),
    'all shards are lost': ('bank/*.npy', None, '000004.npy of the image'),
    'a log of bytes': ('*/*.log', bytes(range(256)) * 40, None),
    'a log of one line': ('*/*.log', 'x' * 10**6, None),
}


@pytest.mark.parametrize('name', DAMAGES)
def test_whatever_is_damaged_the_rest_is_shown(
    name, work_dir, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    pattern, content, message = DAMAGES[name]
    found = list(work_dir.glob(pattern))
    assert found
    for path in found:
        if content is None:
            path.unlink()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
    text, data = read(write_report([work_dir]))
    seen = visible(text)
    if message:
        assert message in seen
    assert 'Written by csd_mmrazor' in seen
    assert not (tmp_path / 'executed').exists()
    if name == 'all shards are lost':
        assert data['runs'][0]['gallery'] is None
        assert 'class="gallery"' not in text
    if 'bank' not in pattern:
        assert len(data['runs'][0]['gallery']['images']) == 60
    if 'scalars' not in pattern:
        assert 'student, best 70.00 %' in seen


def test_settings_of_a_checkpoint_if_there_are_no_others(work_dir):
    for path in work_dir.glob('*/vis_data/config.py'):
        path.unlink()
    meta = dict(cfg='model = dict(lucky=7)')
    torch.save(dict(meta=meta), work_dir / 'epoch_1.pth')
    assert 'model.lucky 7' in visible(read(write_report([work_dir]))[0])


def test_nothing_in_it_is_html_or_script(work_dir):
    """Names, paths, settings and logs as somebody may have written them."""
    evil_dir = work_dir.rename(work_dir.with_name('<b onclick=alert(3)>"\''))
    path = evil_dir / 'report.json'
    found = json.loads(path.read_text())
    found['classes'] = [EVIL, '{{ 7 * 7 }}', '\ud800"\u2028']
    found['machine'] = EVIL
    found['versions'] = {EVIL: EVIL}
    path.write_text(json.dumps(found))
    for attempt in evil_dir.glob('2026*'):
        line = '{"accuracy/top1": 1, "step": 1}\n'
        tag = json.dumps({f'loss{EVIL}': 1, f'{EVIL}.lr': 1, 'step': 1})
        (attempt / 'vis_data/scalars.json').write_text(line + tag)
        (attempt / 'vis_data/config.py').write_text(
            f'a = {{{EVIL!r}: {EVIL!r}}}'
        )
        (attempt / f'{attempt.name}.log').write_text(
            f'2026/01/01 10:00:02 - mmengine - ERROR - {EVIL}\n'
        )
    text, data = read(write_report([evil_dir]))
    assert data['runs'][0]['classes'][0] == EVIL
    scripts = re.findall(r'<script[^>]*>', text)
    assert scripts == [
        '<script type="application/json" id="data">',
        '<script type="text/plain" id="plotly">',
        '<script>',
    ]
    assert '<img' not in text and '<b ' not in text
    assert EVIL in visible(text) and '{{ 7 * 7 }}' in visible(text)
    # Were there a way in: the page runs its own two scripts alone.
    policy = re.search(r'content="(default-src[^"]*)"', text)[1]
    policy = html.unescape(policy)
    assert policy.startswith("default-src 'none'")
    script = re.search(r'script-src([^;]*);', policy)[1].split()
    assert len(script) == 2
    assert all(part.startswith("'sha256-") for part in script)


def test_without_plotly_there_is_a_page_all_the_same(work_dir, monkeypatch):
    monkeypatch.setattr(page_module, 'packed_plotly', lambda: ('', ''))
    text, data = read(write_report([work_dir]))
    assert 'student, best 70.00 %' in visible(text)
    assert len(text) < 500_000


@pytest.mark.parametrize(
    'names, message',
    [
        ([], 'needs the work dir of a run'),
        (['lost'], 'lost is not a folder'),
        (['empty'], 'empty holds no run'),
        (['run', 'run/../run'], 'given twice'),
        # Parts of a run, which are named with it.
        (['run/bank'], 'run/bank is an image bank, .*tools/train.py, .*/run.'),
        (['run/student'], 'run/student holds no run.*tools/train.py, .*/run.'),
        (['run/20260101_100000'], 'holds no run.*tools/train.py, .*/run.'),
        (['other'], 'other holds no run: .* run of tools/train.py.$'),
    ],
)
def test_bad_work_dirs(names, message, work_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    for name in ('run/student', 'other'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'student.pth').touch()
    (tmp_path / 'run/bank/state_000001_000001.pth').touch()
    with pytest.raises((ValueError, OSError), match=message):
        write_report(names)
    assert not [*tmp_path.rglob('*.html')]


def test_a_folder_is_no_place_for_it(work_dir, tmp_path):
    with pytest.raises(ValueError, match='is a folder: name the file'):
        write_report([work_dir], tmp_path)


def test_other_files_are_kept(work_dir, tmp_path):
    """Such as a checkpoint that is named by mistake."""
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(b'mine')
    (tmp_path / 'mine.html').write_text('<!DOCTYPE html>')
    with pytest.raises(ValueError, match='mine.html exists, and is no rep'):
        write_report([work_dir], tmp_path / 'mine.html')
    with pytest.raises(ValueError, match='written as FILE.html'):
        write_report([work_dir], path)
    assert path.read_bytes() == b'mine'


def test_times_of_attempts_are_those_of_logs(work_dir):
    """Those of files change where they are copied."""
    first = run_files.attempts(work_dir)[0]
    assert (first['end'], first['seconds']) == ('2026-01-01 10:00:02', 2)
    log = min(work_dir.glob('*/*.log'))
    log.unlink()
    for path in log.parent.rglob('*'):
        os.utime(path, (2e9, 2e9))
    assert run_files.attempts(work_dir)[0]['seconds'] > 1e8
