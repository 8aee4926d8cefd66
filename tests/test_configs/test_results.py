# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What docs/results.md says can be had again from what is beside it."""

import csv
import hashlib
import os
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ROOT
from scipy.stats import binomtest, ttest_1samp, ttest_rel

from csd_mmrazor.cli import compare_rows
from csd_mmrazor.utils import load_file

RESULTS = ROOT / 'docs/results'
# Where the test images are, for those who have them.
CIFAR10 = Path(os.environ.get('CIFAR10', ROOT / 'data/cifar10'))
SUMS = [line.split() for line in (RESULTS / 'weights/SHA256SUMS').open()]


def top1(study, method, **others):
    """Top-1 by seed, as measured. ``others``: values of further columns."""
    with (RESULTS / f'{study}.csv').open(newline='') as file:
        return {
            row['seed']: float(row['top1'])
            for row in csv.DictReader(file)
            if {**row, 'method': method, **others} == row
        }


def pairs_of(study):
    """Which methods of a list are compared with which."""
    methods = yaml.safe_load((RESULTS / f'{study}.yml').read_text())['methods']
    return {
        name: method['against']
        for name, method in methods.items()
        if 'against' in method
    }


def on_gpu(row):
    return row['machine'].startswith('NVIDIA')


def test_the_page_has_the_rows_of_the_pair():
    page = (ROOT / 'docs/results.md').read_text()
    with (RESULTS / 'cifar10_resnet56.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        keys = ('method', 'budget', 'seed', 'top1', 'other_half')
        cells = [row[key] for key in keys]
        cells.append(f'{float(row["gflop"]) / 1000:.1f}')
        seconds = row['cpu_seconds'] + ' (H200)' * on_gpu(row)
        cells += [seconds, row['images'], row['steps']]
        assert f'| {" | ".join(cells)} |' in page


def test_the_page_has_the_differences_of_the_pair():
    page = (ROOT / 'docs/results.md').read_text()
    with (RESULTS / 'cifar10_resnet56.csv').open(newline='') as file:
        rows = {
            (row['method'], row['budget'], row['seed']): row
            for row in csv.DictReader(file)
        }
    for ours, theirs in (
        *(('quarter', 'small'), ('sixteenth', 'quarter')),
        *(('quarter', 'quarter'), ('sixteenth', 'small')),
        ('thirtysecond', 'quarter'),
    ):
        pairs = [
            (rows['csd_fast', ours, seed], rows['csd', theirs, seed])
            for seed in '013'
        ]
        ahead = [float(a['top1']) - float(b['top1']) for a, b in pairs]
        mean = statistics.mean(ahead)
        # Student's t of 2 degrees of freedom
        half = 4.3027 * statistics.stdev(ahead) / len(ahead) ** 0.5
        timed = [
            pair for pair in pairs if all(row['cpu_seconds'] for row in pair)
        ]
        costs = [
            sum(float(a[key]) for a, _ in chosen)
            / sum(float(b[key]) for _, b in chosen)
            for key, chosen in (('gflop', pairs), ('cpu_seconds', timed))
        ]
        cells = (ours, theirs, f'{mean:+.1f}')
        cells += (f'{mean - half:+.1f} to {mean + half:+.1f}',)
        cells += tuple(f'{cost:.2f}' for cost in costs)
        assert f'| {" | ".join(cells)} |' in page


@pytest.mark.parametrize('study', ['cifar10', 'digits'])
def test_the_page_has_the_tables_of_older_studies(study):
    page = (ROOT / 'docs/results.md').read_text()
    rows = compare_rows.read_rows(RESULTS / f'{study}.csv')
    for method, group in compare_rows.by_method(rows).items():
        values = [float(row['top1']) for row in group]
        mean, spread = statistics.mean(values), statistics.stdev(values)
        timed = [row['cpu_seconds'] for row in group if row['cpu_seconds']]
        cpu = statistics.mean(map(float, timed))
        (images,) = {row['images'] for row in group}
        cells = [method, f'{mean:.2f} ± {spread:.2f}', str(len(group))]
        cells += [f'{cpu:.0f}', images]
        assert f'| {" | ".join(cells)} |' in page
    pairs = pairs_of(study)
    _, _, *lines = compare_rows.paired_differences(rows, pairs).splitlines()
    assert len(lines) == len(pairs)
    assert all(line in page for line in lines)


def test_the_summaries_have_the_means_of_the_pair():
    with (RESULTS / 'cifar10_resnet56.csv').open(newline='') as file:
        groups = compare_rows.by_method([*csv.DictReader(file)])
    means = {
        name: (
            statistics.mean(float(row['top1']) for row in group),
            len(group),
        )
        for name, group in groups.items()
    }
    summary, readme = (
        ' '.join((ROOT / name).read_text().split())
        for name in ('docs/results.md', 'README.md')
    )
    numbers = ('no', 'one', 'two', 'three', 'four', 'five')
    table = [
        line.strip('|').split(' | ')
        for line in (ROOT / 'docs/results.md').read_text().splitlines()
        if re.match(r'\| \**`\w+`.* \| (blocks of|random)', line)
    ]
    assert len(table) == 21
    for name, _, budget, *cells in table:
        method = f'{name.split("`")[1]}, {budget}'
        mean, seeds = means[method]
        gpu = all(map(on_gpu, groups[method]))
        times = [
            float(row['cpu_seconds'])
            for row in groups[method]
            if row['cpu_seconds'] and on_gpu(row) == gpu
        ]
        cpu = f'{statistics.mean(times) / 60:.0f}' + ' (H200)' * gpu
        assert [c.strip() for c in cells] == [f'{mean:.1f}', str(seeds), cpu]
    fast, _ = means['csd_fast, quarter']
    plain, (four, single) = (
        means['csd_plain, quarter'],
        means['csd_plain, small'],
    )
    assert f'reaches {plain[0]:.1f} % ({numbers[plain[1]]} seeds)' in readme
    real, (off, _) = (
        means['real_images, small'][0],
        means['csd_off, small'],
    )
    pair = [
        top1('cifar10_resnet56', method, budget='small')
        for method in ('real_images', 'csd_off')
    ]
    assert {*pair[0]} == {'0', '1'} <= {*pair[1]}
    below = statistics.mean(pair[0][s] - pair[1][s] for s in pair[0])
    assert f'**{below:.1f} points below the same one on real' in summary
    scratch = means['csd_fast_scratch, quarter'][0]
    assert f'reaches {fast:.1f} % from blocks of its teacher and ' in summary
    whole = means['csd_off_scratch, small'][0]
    assert (
        f'and {scratch:.1f} % from scratch; at the small one, {off:.1f} and '
        f'{whole:.1f} %.' in summary
    )
    others = max(means[f'{m}, small'][0] for m in ('fast', 'nayer', 'cmi'))
    random = [means[f'csd_plain_scratch, {b}'] for b in ('quarter', 'small')]
    assert {seeds for _, seeds in random} == {2}
    assert (
        f'`csd_plain_scratch` has {random[1][0]:.1f} % and '
        f'`csd_off_scratch` {whole:.1f} % where the best of' in summary
    )
    assert f'Fast-Datafree, has {others:.1f} % (two seeds each)' in summary
    assert f'by {whole - others:.1f} points or more' in summary
    assert (
        f'brings `csd_plain` {four - random[1][0]:.1f} points at the small '
        f'budget and {plain[0] - random[0][0]:.1f} at the quarter one'
        in summary
    )
    assert (
        f'weights, they reach {random[0][0]:.1f} and {random[1][0]:.1f} %'
        in readme
    )
    assert (
        f'gives {four:.1f} % ({numbers[single]} seeds; with the real images '
        f'{real:.1f} %)' in readme
    )
    assert (
        f'{plain[0]:.1f} % where `csd_fast` has {fast:.1f} %, and {four:.1f} '
        f'% where `csd_off` has {off:.1f} % ({numbers[single]} seeds), '
        f'{real - four:.1f} points below' in summary
    )
    large, real_large = (
        means[f'{name}, large'][0] for name in ('csd_plain', 'real_images')
    )
    assert (
        f'student of `csd_plain` has {large:.1f} % (one seed, two hours of '
        f'one core), {real_large - large:.1f} points below' in summary
    )
    assert f'brings {large - four:.1f} points.' in summary
    assert (
        f'is {real - four:.1f} points below at the small budget and '
        f'{real_large - large:.1f} points at the large one' in summary
    )
    assert (
        f'and forty times {large:.1f} % (one seed; {real_large:.1f} %)'
        in readme
    )
    for budget, text, place in (
        ('medium', 'brings', 'at the medium budget'),
        ('large', 'ten times the work', 'at the large one'),
    ):
        found = means[f'csd_off, {budget}'][0]
        assert (
            f'{text} {found - off:.1f} points: {found:.1f} % (one seed'
            in summary
        )
        ceiling = means[f'real_images, {budget}'][0]
        assert f'{ceiling - found:.1f} points {place}' in summary


def test_the_page_has_the_difference_that_the_term_makes():
    found = {
        method: top1('cifar10_resnet56', method, budget='small')
        for method in ('csd_best', 'csd_off')
    }
    best, off = found.values()
    page = ' '.join((ROOT / 'docs/results.md').read_text().split())
    behind = [off[seed] - best[seed] for seed in sorted(best)]
    each = ', '.join(f'{points:.2f}' for points in behind)
    test = ttest_rel(*([of[seed] for seed in best] for of in (off, best)))
    low, high = test.confidence_interval()
    assert (
        f'`csd_best` is {statistics.mean(behind):.2f} points below `csd_off` '
        f'({each} with seeds 0 to {len(behind) - 1}; 95 % interval '
        f'{low:.2f} to {high:.2f}, p = {test.pvalue:.3f})' in page
    )


def test_all_weights_are_listed_and_small():
    files = {*(RESULTS / 'weights').iterdir()}
    assert {path.name for path in files} == {
        'SHA256SUMS',
        'LICENSE.pytorch_resnet_cifar10',  # of what the ResNet-20 began with
        *(name for _, name in SUMS),
    }
    assert sum(path.stat().st_size for path in files) < 1.1e7
    # Each .pth as .safetensors too, with the same numbers.
    for path in files:
        if path.suffix == '.pth':
            found = load_file(path)['state_dict']
            safe = load_file(path.with_suffix('.safetensors'))
            assert found.keys() == safe.keys()
            for key, value in found.items():
                assert torch.equal(value, safe[key])


@pytest.mark.parametrize('sha256, name', SUMS)
def test_weights_are_what_they_were(sha256, name):
    content = (RESULTS / 'weights' / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256
    pth = name.replace('.safetensors', '.pth')
    page = (ROOT / 'docs/results.md').read_text()
    assert f'| `{name}` |' in page or f'| `{pth}` |' in page


@pytest.mark.parametrize(
    'method, suffix', [('csd', 'pth'), ('csd_off', 'safetensors')]
)
def test_weights_reach_their_row(forked, method, suffix):
    tested = forked(
        ROOT / 'configs/csd/csd_digits16.py',
        RESULTS / f'weights/digits16_{method}_seed0.{suffix}',
        tool='test.py',
    )
    assert tested.status == [0], tested.output[-3000:]
    (found,) = re.findall(r'accuracy/top1: ([\d.]+)', tested.stdout)
    assert float(found) == pytest.approx(top1('digits', method)['0'], abs=0.01)


# Tests a student of ResNet-56 > ResNet-20. That needs neither a head nor the
# weights of the teacher.
RESNET20 = (
    ROOT / 'configs/csd/csd_plain_resnet56_resnet20_cifar10.py',
    RESULTS / 'weights/cifar10_resnet56_csd_plain_large_seed0.safetensors',
    *('--cfg-options', 'model.teachers.teacher.ckpt_path=none'),
    'val_dataloader.num_workers=0',
)


@pytest.mark.skipif(
    not (CIFAR10 / 'test').is_dir(),
    reason=f'no images of CIFAR-10 in {CIFAR10}/test (CIFAR10=FOLDER)',
)
def test_the_best_resnet20_reaches_its_row(forked):
    root = f'val_dataloader.dataset.data_root={CIFAR10}'
    tested = forked(*RESNET20, root, tool='test.py')
    assert tested.status == [0], tested.output[-3000:]
    (found,) = re.findall(r'accuracy/top1: ([\d.]+)', tested.stdout)
    row = top1('cifar10_resnet56', 'csd_plain', budget='large')['0']
    assert float(found) == pytest.approx(row, abs=0.03)


def test_metafiles_say_what_was_measured():
    content = yaml.safe_load((ROOT / 'configs/csd/metafile.yml').read_text())
    pair = 'resnet56_resnet20_cifar10'
    studies = {
        'csd_digits16': top1('digits', 'csd'),
        'csd_resnet14-32_resnet14-16_cifar10': top1('cifar10', 'csd'),
        f'csd_fast_{pair}': top1(
            'cifar10_resnet56', 'csd_fast', budget='quarter'
        ),
        **{
            f'{method}_{pair}': top1(
                'cifar10_resnet56', method, budget='small'
            )
            for method in ('csd_plain', 'csd_best')
        },
    }
    measured = {m['Name']: m for m in content['Models'] if 'Results' in m}
    assert measured.keys() == studies.keys()
    for name, rows in studies.items():
        (result,) = measured[name]['Results']
        values = rows.values()
        assert result['Metrics']['Top 1 Accuracy'] == pytest.approx(
            statistics.mean(values), abs=0.005
        )
        assert result['Metrics']['Runs'] == len(values)


def test_the_page_has_what_quantization_loses():
    page = (ROOT / 'docs/quantize.md').read_text()
    with (RESULTS / 'quantization_cifar10.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    columns = [('bank', '512'), ('real images', '100')]
    columns += [('real images', '10'), ('noise', '512'), ('bank', 'distilled')]
    groups, lost = defaultdict(list), defaultdict(list)
    for row in rows:
        group = row['network'], row['bits']
        groups[group].append(row)
        steps, images = row['distil_steps'], row['images']
        column = (
            row['calibrated_on'],
            images if steps == '0' else 'distilled',
        )
        assert column in columns
        points = float(row['float_top1']) - float(row['top1'])
        lost[group, column].append(points)
    for (network, bits), group in groups.items():
        cells = [network, group[0]['float_top1'], bits]
        for column in columns:
            each = lost[(network, bits), column]
            cells.append(
                f'{statistics.mean(each):.2f} ({len(each)})' if each else ''
            )
        cells += [group[0][key] for key in ('float_kilobytes', 'kilobytes')]
        times = [float(row['relative_time']) for row in group]
        cells.append(f'{statistics.mean(times):.2f}')
        assert f'| {" | ".join(cells)} |' in page
    worst = max(
        max(each)
        for ((_, bits), column), each in lost.items()
        if bits == 'int8' and column == columns[0]
    )
    assert f'no run lost more than\n  {worst:.2f} points' in page
    noise = lost[('student', 'int8'), ('noise', '512')]
    assert ' and '.join(f'{each:.2f}' for each in noise) in page


def test_the_page_has_the_rows_of_few_images():
    page = (ROOT / 'docs/when_to_use.md').read_text()
    with (RESULTS / 'few_images_cifar10.csv').open(newline='') as file:
        methods = {row['method'] for row in csv.DictReader(file)}
    assert len(methods) == 7
    means = {}
    for method in methods:
        found = top1('few_images_cifar10', method)
        each = ', '.join(f'{found[seed]:.2f}' for seed in sorted(found))
        means[method] = statistics.mean(found.values())
        assert f'| {method} | {means[method]:.2f} | {each} |' in page
    text = ' '.join(page.split())
    assert (
        f'student of {means["real_10"]:.1f} % and 10 images one of '
        f'{means["real_1"]:.1f} %, where synthetic images alone give '
        f'{means["bank"]:.1f} %'
    ) in text


def test_the_page_has_what_few_labelled_images_tell():
    page = (ROOT / 'docs/when_to_use.md').read_text()
    for share in (60, 80, 90):
        ends = [
            binomtest(share * images // 100, images).proportion_ci(0.95)
            for images in (50, 100, 1000)
        ]
        cells = [f'{100 * a:.0f} to {100 * b:.0f} %' for a, b in ends]
        assert f'| {share} % | {" | ".join(cells)} |' in page
    with (RESULTS / 'quantization_cifar10.csv').open(newline='') as file:
        lost = [
            float(row['float_top1']) - float(row['top1'])
            for row in csv.DictReader(file)
            if (row['bits'], row['images']) == ('int8', '10')
        ]
    assert len(lost) == 3
    assert f'cost {max(lost):.2f} points of accuracy at most' in page


def test_the_page_has_the_rows_of_pruning():
    page = (ROOT / 'docs/pruned.md').read_text()
    with (RESULTS / 'pruned_resnet56_cifar10.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    shown = ('method', 'times_fewer_operations', 'seed', 'top1_whole')
    shown += ('top1_pruned', 'top1', 'steps', 'images', 'cpu_seconds')
    text = ' '.join(page.split())
    for times in ('1.98', '3.88'):
        won = defaultdict(list)
        for row in rows:
            if row['times_fewer_operations'] == times:
                assert f'| {" | ".join(row[key] for key in shown)} |' in page
                points = float(row['top1']) - float(row['top1_pruned'])
                won[row['method']].append(points)
        back = {key: statistics.mean(each) for key, each in won.items()}
        share = 100 * back['csd'] / back['real_images']
        assert (
            f'{back["csd"]:.1f} points come back, of the '
            f'{back["real_images"]:.1f} that real images win back: '
            f'{share:.0f} %'
        ) in text


def test_the_page_has_the_rows_of_a_teacher_without_bn():
    page = (ROOT / 'docs/results.md').read_text()
    for name, shown in (('prior', 'with the prior'), ('no_prior', 'without')):
        values = ', '.join(
            f'{v:.2f}' for v in top1('vit_digits', name).values()
        )
        assert f'| {shown} | {values} |' in page
    differences = [
        top1('vit_digits', 'prior')[seed] - value
        for seed, value in top1('vit_digits', 'no_prior').items()
    ]
    assert f'{statistics.mean(differences):.2f} points, with' in page


def test_the_pages_have_the_difference_of_the_methods_of_distill():
    page, advice = (
        ' '.join((ROOT / f'docs/{name}.md').read_text().split())
        for name in ('results', 'your_networks')
    )
    rows = compare_rows.read_rows(RESULTS / 'default_method.csv')
    pairs = pairs_of('default_method')
    tables = (
        compare_rows.table(rows),
        compare_rows.paired_differences(rows, pairs),
    )
    for line in '\n'.join(tables).splitlines():
        assert line in page
    cost = {row['method']: float(row['gflop']) for row in rows}
    points = {}
    for method in filter(lambda name: name.endswith('_csd'), pairs):
        assert cost[method] == pytest.approx(cost[pairs[method]], rel=0.01)
        own, other = (
            top1('default_method', name) for name in (method, pairs[method])
        )
        points[method] = [own[seed] - other[seed] for seed in own]
    behind = [-statistics.mean(each) for each in points.values()]
    found = f'{min(behind):.1f} to {max(behind):.1f} points'
    assert min(behind) > 0 and found in page and found in advice
    p = ttest_1samp(behind, 0).pvalue
    assert f'counts once, by its mean, p = {p:.3f}' in page
    for left_out, said in (
        ('none', 'over all {} pairs, it is'),
        ('mnist', 'the other {} pairs have'),
    ):
        joined = [
            value
            for method, each in points.items()
            if not method.startswith(left_out)
            for value in each
        ]
        test = ttest_1samp(joined, 0)
        low, high = test.confidence_interval()
        assert (
            f'{said.format(len(joined))} {statistics.mean(joined):+.1f} '
            f'points ({low:+.1f} to {high:+.1f}, p = {test.pvalue:.3f})'
        ) in page
    study = compare_rows.by_method(
        compare_rows.read_rows(RESULTS / 'cifar10.csv')
    )
    csd, off = (
        statistics.mean(
            float(row['cpu_seconds'])
            for row in study[name]
            if row['cpu_seconds']
        )
        for name in ('csd', 'csd_off')
    )
    assert f'took {csd / off:.1f} times the CPU seconds' in page
