# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import io
import pickle
import pickletools
import re
import shutil
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from helpers import ROOT, build, equal, network
from safetensors.torch import save_model
from torch import nn

from csd_mmrazor.models.utils import checkpoints, load_state, load_weights
from csd_mmrazor.utils import CheckpointError, load_file
from csd_mmrazor.utils.downloads import cache_place

ARGUMENT = 'model.teachers.t.ckpt_path'


@pytest.mark.parametrize('prefix', ['', 'module.', 'architecture.'])
@pytest.mark.parametrize('wrapped', [True, False])
def test_loads_any_of_our_files(tmp_path, prefix, wrapped):
    source, target = build(network()), build(network())
    state_dict = {prefix + k: v for k, v in source.state_dict().items()}
    if prefix == 'architecture.':
        state_dict['aux_head.weight'] = torch.zeros(1)
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=state_dict) if wrapped else state_dict, path)
    load_weights(target, str(path), ARGUMENT)
    for key, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[key])


def test_a_missing_file_is_told_by_its_argument():
    with pytest.raises(FileNotFoundError, match=f'{ARGUMENT}=gone.pth does'):
        load_weights(build(network()), 'gone.pth', ARGUMENT)


@pytest.mark.parametrize('inside', [[], ['epoch_1.pth']])
def test_a_folder_is_told_by_what_is_in_it(tmp_path, inside):
    for name in inside:
        (tmp_path / name).touch()
    said = f'{ARGUMENT}=.* is a folder.*{(inside or ["none"])[0]}'
    with pytest.raises(IsADirectoryError, match=said):
        load_weights(build(network()), str(tmp_path), ARGUMENT)


def test_a_missing_file_is_told_by_who_makes_it(monkeypatch):
    path = 'work_dirs/wrn40-2_svhn/epoch_200.pth'
    for folder, prefix in ((ROOT, ''), (ROOT.parent, f'{ROOT.name}/')):
        monkeypatch.chdir(folder)
        with pytest.raises(FileNotFoundError) as error:
            load_weights(build(network()), path, ARGUMENT)
        assert (
            f'Make it by "python {prefix}tools/train.py {prefix}configs/'
            'teachers/wrn40-2_svhn.py", which needs real images, or name a '
            f'checkpoint of the network: --cfg-options {ARGUMENT}=FILE'
        ) in str(error.value)


def test_the_text_that_names_a_checkpoint(tmp_path):
    path = tmp_path / 'last_checkpoint'
    path.write_text('/elsewhere/iter_20.pth')
    with pytest.raises(CheckpointError) as error:
        load_weights(build(network()), str(path), 'checkpoint')
    assert str(error.value) == (
        f'checkpoint: {path} is a text that names a checkpoint: give '
        f'{tmp_path / "iter_20.pth"}.'
    )


def test_another_networks_file_is_refused(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(build(network(base_channels=6)).state_dict(), path)
    with pytest.raises(ValueError, match='does not fit ImageClassifier') as e:
        load_weights(build(network()), str(path), ARGUMENT)
    # Not each of them.
    assert 'conv1.weight is of shape (6, 1, 3, 3) in the file' in str(e.value)
    assert re.search(r' in the network \(\d+ more differ\)\. G', str(e.value))
    assert len(str(e.value)) < 400 and '\n' not in str(e.value)
    torch.save(dict(fc=torch.zeros(1)), path)
    with pytest.raises(ValueError, match='lacks .* of its weights'):
        load_weights(build(network()), str(path), ARGUMENT)
    # One name in common, such as that of the last layer, tells little.
    weights = {'other.weight': torch.zeros(3), 'fc.bias': torch.zeros(2)}
    torch.save(weights, path)
    net = nn.Sequential()
    net.body, net.fc = nn.Conv2d(1, 2, 3), nn.Linear(2, 3)
    told = r'lacks 3 of its weights \(body.weight, .*\). It has other.weight'
    with pytest.raises(ValueError, match=told):
        load_weights(net, str(path), ARGUMENT)


@pytest.mark.parametrize('name', ['a.npz', 'a.txt'])
def test_files_that_torch_cannot_read(name, tmp_path):
    path = tmp_path / name
    if name.endswith('.npz'):
        np.savez(path, a=np.zeros(2))
    else:
        path.write_text('class Net: pass')
    with pytest.raises(ValueError, match='FILE. or of safetensors') as error:
        load_weights(build(network()), str(path), ARGUMENT)
    assert 'weights_only=False' not in str(error.value)


@pytest.mark.parametrize(
    'layers, bias, said',
    [
        ([(4, 5), (5, 3)], True, r'\(1 more differs\)\. No other layer'),
        ([(4, 5), (5, 3)], False, r'in the network\. No other layer'),
        ([(4, 6), (6, 3)], True, r'\(3 more differ\)\. Give weights of this'),
        ([(4, 6), (6, 7)], True, r'\(2 more differ\)\. Give weights of this'),
    ],
)
def test_a_file_of_other_classes(layers, bias, said, tmp_path):
    """Its last layer alone is of another shape."""

    def net(sizes):
        made = [torch.nn.Linear(*size, bias=bias) for size in sizes]
        return torch.nn.Sequential(*made)

    torch.save(net(layers).state_dict(), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=said) as error:
        load_weights(net([(4, 5), (5, 7)]), f'{tmp_path / "a.pth"}', ARGUMENT)
    told = 'is of 3 classes, and the network of 7: build it with num_classes=3'
    assert (told in f'{error.value}') == ('No other' in said)


class Positions(torch.nn.Module):
    """Has something with a row for each position."""

    def __init__(self, kind, number):
        super().__init__()
        if kind == 'table':
            self.table = torch.nn.Embedding(number, 4)
        elif kind == 'parameter':
            self.table = torch.nn.Parameter(torch.zeros(number, 4))
        else:
            self.register_buffer('table', torch.zeros(number))


@pytest.mark.parametrize('kind', ['table', 'parameter', 'buffer'])
def test_a_file_of_other_positions(kind, tmp_path):
    torch.save(Positions(kind, 3).state_dict(), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='Give weights of this') as error:
        load_weights(Positions(kind, 7), f'{tmp_path / "a.pth"}', ARGUMENT)
    assert 'classes' not in f'{error.value}'


def test_offline_says_which_file_to_put_where(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', fail)
    monkeypatch.setattr('torch.hub.urlopen', fail)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    url = 'https://download.openmmlab.com/some/teacher.pth'
    with pytest.raises(FileNotFoundError) as error:
        load_weights(build(network()), url, ARGUMENT)
    place = cache_place(url)
    assert place.parents[1] == tmp_path / 'hub/checkpoints'
    for part in (url, f'put it at {place}', f'{ARGUMENT}=FILE', 'no network'):
        assert part in str(error.value)
    # With the file there, nothing is downloaded.
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(build(network()).state_dict(), place)
    load_weights(build(network()), url, ARGUMENT)


def test_downloads_of_one_name_are_kept_apart(monkeypatch, tmp_path):
    """As the model.safetensors of any two repositories are."""
    sources, kinds = tmp_path / 'web', ('a', 'b')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))

    def get(url, path, **kwargs):
        fetched.append(url)
        shutil.copy(sources / url.split('/')[-2] / 'model.pth', path)

    fetched, kept = [], {}
    monkeypatch.setattr('torch.hub.download_url_to_file', get)
    for kind in kinds:
        (sources / kind).mkdir(parents=True)
        kept[kind] = build(network()).state_dict()
        torch.save(kept[kind], sources / kind / 'model.pth')
    for kind in (*kinds, *kinds):
        model = build(network())
        load_weights(model, f'https://h.c/{kind}/model.pth', ARGUMENT)
        for key, value in model.state_dict().items():
            assert torch.equal(value, kept[kind][key])
    assert len(fetched) == 2
    # What is no checkpoint is not kept, since it may be one next time.
    (sources / 'c').mkdir()
    (sources / 'c/model.pth').write_text('<html>not found</html>')
    url = 'https://h.c/c/model.pth'
    with pytest.raises(CheckpointError, match='is not a checkpoint'):
        load_weights(build(network()), url, ARGUMENT)
    shutil.copy(sources / 'a/model.pth', sources / 'c/model.pth')
    load_weights(build(network()), url, ARGUMENT)
    assert len(fetched) == 4


@pytest.mark.parametrize('ema', ['ema_model.', 'model_ema.module.'])
def test_running_means_in_the_same_dict(tmp_path, ema):
    source, target = build(network()), build(network())
    weights = source.state_dict()
    means = {k: 0 * v for k, v in weights.items()}
    path = tmp_path / 'weights.pth'
    torch.save({**prefixed('model.', weights), **prefixed(ema, means)}, path)
    load_weights(target, str(path), ARGUMENT)
    for key, value in target.state_dict().items():
        assert torch.equal(value, weights[key])


def test_layers_that_are_saved_once(tmp_path):
    """As save_model of safetensors does, under one of their names."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = self.b = nn.Linear(2, 2)
            self.c = nn.Linear(2, 2)

    path = tmp_path / 'model.safetensors'
    for drop in ('a', 'b'):
        source, target = Tied(), Tied()
        save_model(source, str(path))
        weights = {
            k: v
            for k, v in source.state_dict().items()
            if not k.startswith(drop)
        }
        torch.save(weights, tmp_path / 'model.pth')
        for each in (path, tmp_path / 'model.pth'):
            load_weights(target, str(each), ARGUMENT)
            for key, value in source.state_dict().items():
                assert torch.equal(target.state_dict()[key], value)
    del weights['c.bias']
    torch.save(weights, path.with_suffix('.pth'))
    with pytest.raises(ValueError, match=r'lacks 1 of its weights \(c.bias\)'):
        load_weights(Tied(), str(path.with_suffix('.pth')), ARGUMENT)


def test_a_pickle_that_announces_too_much(tmp_path):
    path = tmp_path / 'a.pth'
    size = (1 << 50).to_bytes(8, 'little')
    path.write_bytes(b'\x80\x04\x8e' + size + b'abc')
    with pytest.raises(CheckpointError, match='a.pth'):
        load_weights(build(network()), str(path), ARGUMENT)


def test_a_download_is_compared_with_the_hash_in_its_name(
    monkeypatch, tmp_path
):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = tmp_path / 'hub/checkpoints'
    folder.mkdir(parents=True)
    torch.save(build(network()).state_dict(), folder / 'file.pth')
    content = (folder / 'file.pth').read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    for name in (f'net-{digest[:8]}.pth', f'net_2021-{digest}.pth'):
        (folder / name).write_bytes(content)
        load_weights(build(network()), f'https://a.b/{name}', ARGUMENT)
    (folder / 'net-0123abcd.pth').write_bytes(content)
    with pytest.raises(ValueError, match='SHA-256 begins with') as error:
        load_weights(
            build(network()), 'https://a.b/net-0123abcd.pth', ARGUMENT
        )
    assert str(folder / 'net-0123abcd.pth') in str(error.value)


@pytest.mark.parametrize('new', [True, False])
def test_a_download_that_was_cut_short(monkeypatch, tmp_path, new):
    """It says what to do, whether the hash in its name tells or the file."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = tmp_path / 'hub/checkpoints'
    folder.mkdir(parents=True)
    weights = build(network()).state_dict()
    path = folder / 'net-01234567.th'
    torch.save(weights, path, _use_new_zipfile_serialization=new)
    content = path.read_bytes()
    for length in (20, len(content) // 3, len(content) - 100):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match='SHA-256 begins .* Delete it'):
            load_weights(
                build(network()), f'https://a.b/{path.name}', ARGUMENT
            )
        with pytest.raises(ValueError, match='was cut short') as error:
            load_weights(build(network()), str(path), ARGUMENT)
        assert 'could run any code' not in str(error.value)


def prefixed(prefix, state_dict):
    return {prefix + key: value for key, value in state_dict.items()}


# What programs write: each has the weights of ``w``.
FORMS = {
    'compiled': lambda w: prefixed('_orig_mod.', w),
    'compiled and parallel': lambda w: prefixed('module._orig_mod.', w),
    'compiled inside': lambda w: {
        k.replace('backbone.', 'backbone._orig_mod.'): v for k, v in w.items()
    },
    'Lightning': lambda w: dict(
        epoch=3, state_dict=prefixed('model.', w), loops={}
    ),
    'MMRazor': lambda w: dict(
        state_dict={
            **prefixed('architecture.', w),
            **prefixed('teachers.t.', {k: 0 * v for k, v in w.items()}),
            'aux_head.fc.weight': torch.zeros(2),
        }
    ),
    'EMA alone': lambda w: dict(state_dict_ema=w, optimizer=dict(state={})),
    'EMA of MMEngine': lambda w: dict(
        ema_state_dict=dict(prefixed('module.', w), steps=torch.tensor(7))
    ),
    'EMA beside': lambda w: dict(
        model_ema={k: 0 * v for k, v in w.items()}, model=w
    ),
    # It exchanges the two.
    'by EMAHook': lambda w: dict(
        meta=dict(mmengine_version='0.10.7'),
        state_dict=w,
        ema_state_dict=dict(
            prefixed('module.', {k: 0 * v for k, v in w.items()}),
            steps=torch.tensor(7),
        ),
    ),
    'any name': lambda w: dict(epoch=1, student_weights=w, acc=0.5),
    'deep': lambda w: dict(checkpoint=dict(model=dict(state_dict=w))),
    'arrays': lambda w: dict(
        weights={k: v.numpy() for k, v in w.items()}, seen=np.ones(3)
    ),
    'arrays beside': lambda w: dict(w, accuracies=np.ones(3)),
    'states beside': lambda w: dict(
        weights=w,
        optimizer=dict(state=dict(exp_avg={k: 0 * v for k, v in w.items()})),
    ),
    'profiled': lambda w: dict(
        w, total_ops=torch.zeros(1), **{'head.fc.total_params': torch.ones(1)}
    ),
    'optimizer beside': lambda w: dict(
        optimizer=dict(momentum=torch.zeros(3)), net=w
    ),
    'half precision': lambda w: {k: v.bfloat16() for k, v in w.items()},
    'a wider network beside': lambda w: dict(
        big=build(network(base_channels=8)).state_dict(), small=w
    ),
    'parts in DataParallel': lambda w: {
        k.replace('.', '.module.', 1): v for k, v in w.items()
    },
    'twice': lambda w: dict(best=w, last=dict(w)),
    'any name, and EMA': lambda w: dict(
        weights=w, ema={k: 0 * v for k, v in w.items()}
    ),
}


@pytest.mark.parametrize('form', FORMS)
def test_finds_the_weights_in_what_programs_write(tmp_path, form, monkeypatch):
    told = []
    monkeypatch.setattr(
        checkpoints, 'print_log', lambda text, **_: told.append(text)
    )
    source, target = build(network()), build(network())
    for value in source.state_dict().values():
        # Exact in bfloat16.
        value.copy_(torch.randint_like(value, 1, 9))
    path = tmp_path / 'weights.pth'
    torch.save(FORMS[form](source.state_dict()), path)
    load_weights(target, str(path), ARGUMENT)
    for key, value in source.state_dict().items():
        if 'num_batches' not in key:
            assert torch.equal(value, target.state_dict()[key]), key
    # Which of both, where there is a choice.
    assert any('running means' in text for text in told) == ('EMA' in form)
    is_hook = any('Taken are the means' in text for text in told)
    assert is_hook == (form == 'by EMAHook')


def test_finds_the_network_below_a_wrapper(tmp_path):
    def wrapper():
        return build(
            dict(
                type='TorchClassifier',
                factory='torchvision.models.shufflenet_v2_x0_5',
            )
        )

    source, path = wrapper(), tmp_path / 'weights.pth'
    for weights in (
        source.net.state_dict(),
        prefixed('module.', source.net.state_dict()),
        prefixed('_orig_mod.', source.state_dict()),
    ):
        target = wrapper()
        torch.save(weights, path)
        load_weights(target, str(path), ARGUMENT)
        assert torch.equal(source.net.fc.weight, target.net.fc.weight)


# What is refused, and how: the weights ``w`` of the right network bent.
REFUSED = {
    'a deeper network': (
        lambda w: dict(w, **{'backbone.layer9.0.conv1.weight': torch.ones(1)}),
        r'a larger one: 1 of its weights have no place .*layer9.*revise_keys',
    ),
    'a tuple': (lambda w: (w, 0.93), 'holds a tuple. .*network.state_dict'),
    'a list': (lambda w: [w], r'holds a list. .*network.state_dict'),
    'a tensor': (lambda w: w['head.fc.bias'], 'holds a Tensor'),
    'no weights': (lambda w: dict(acc=1, e=dict()), 'holds no weights: .*acc'),
    'nothing': (lambda w: {}, 'holds no weights: it is empty. Save'),
    'integers': (
        lambda w: dict(w, **{'head.fc.bias': torch.ones(10).to(torch.int8)}),
        'head.fc.bias is torch.int8, .*not quantized',
    ),
    'two networks': (
        lambda w: {**prefixed('left.', w), **prefixed('right.', w)},
        r'several networks that fit: left\., right\.',
    ),
    'two networks in one dict': (
        lambda w: {
            **prefixed('student.', {k: 0 * v for k, v in w.items()}),
            **prefixed('teacher.', w),
        },
        r'several networks that fit, with other weights: student\., teacher',
    ),
    'student and teacher': (
        lambda w: dict(student={k: 0 * v for k, v in w.items()}, teacher=w),
        'several networks that fit: student, teacher',
    ),
    'state dicts of both': (
        lambda w: dict(
            a=dict(state_dict={k: 0 * v for k, v in w.items()}),
            b=dict(state_dict=w),
        ),
        'several networks that fit: state_dict, state_dict',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refuses_what_is_not_its_weights(tmp_path, case):
    make, message = REFUSED[case]
    path = tmp_path / 'weights.pth'
    torch.save(make(build(network()).state_dict()), path)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(build(network()), str(path), ARGUMENT)
    assert ARGUMENT in str(error.value)


@pytest.mark.parametrize(
    'name, message',
    [
        ('a.pth', 'a.pth is not a checkpoint: .*begins so. .*state_dict'),
        ('model.safetensors.index.json', 'lists the files of sharded weights'),
    ],
)
def test_refuses_texts(tmp_path, name, message):
    path = tmp_path / name
    path.write_text('hello')
    with pytest.raises(ValueError, match=message) as error:
        load_weights(build(network()), str(path), ARGUMENT)
    assert ARGUMENT in str(error.value)


def test_refuses_a_whole_module(tmp_path):
    path = tmp_path / 'module.pth'
    torch.save(build(network()), path)
    with pytest.raises(ValueError, match=r'network\.state_dict\(\)') as error:
        load_weights(build(network()), str(path), ARGUMENT)
    assert ARGUMENT in str(error.value)


def test_names_are_revised(tmp_path):
    source, target = build(network()), build(network())
    weights = {
        key.replace('head.fc', 'linear'): value
        for key, value in source.state_dict().items()
    }
    path = tmp_path / 'weights.pth'
    weights.update(
        {'extra.weight': torch.ones(1), 'extra.bias': torch.ones(1)}
    )
    torch.save(weights, path)
    revise_keys = [('^linear', 'head.fc'), ('^extra.*', '')]
    load_weights(target, str(path), ARGUMENT, revise_keys)
    assert torch.equal(source.head.fc.weight, target.head.fc.weight)
    with pytest.raises(TypeError, match=r"revise_keys beside .* got \['\('\]"):
        load_weights(target, str(path), ARGUMENT, ['('])


@pytest.mark.parametrize('written_for', ['', 'module.'])
@pytest.mark.parametrize('prefix', ['', 'module.', 'module.module.', 'model.'])
def test_names_are_revised_whatever_wraps_them(tmp_path, prefix, written_for):
    """Patterns are of one file; the same network is saved in others too."""
    source, target = build(network()), build(network())
    weights = {
        prefix + key.replace('head.fc', 'linear').replace('backbone.', ''): v
        for key, v in source.state_dict().items()
    }
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=weights), path)
    pattern = written_for.replace('.', r'\.')
    revise_keys = [(f'^{pattern}linear', 'head.fc')]
    revise_keys += [(f'^{pattern}(?!head)', 'backbone.')]
    load_weights(target, str(path), ARGUMENT, revise_keys)
    for key, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[key])


def test_other_names_are_shown(tmp_path):
    weights = {
        key.replace('head.fc', 'linear'): value
        for key, value in build(network()).state_dict().items()
    }
    torch.save(weights, tmp_path / 'weights.pth')
    with pytest.raises(ValueError) as error:
        load_weights(build(network()), str(tmp_path / 'weights.pth'), ARGUMENT)
    assert 'It has linear.weight, linear.bias. If only' in str(error.value)
    assert 'revise_keys=[(PATTERN, NEW)] beside ckpt_path' in str(error.value)


@pytest.mark.parametrize('path', [None, 3, '', ['a.pth']])
def test_a_path_is_a_text(path):
    with pytest.raises(TypeError, match=f'{ARGUMENT} should be the path'):
        load_weights(build(network()), path, ARGUMENT)


def test_a_shared_weight_has_one_value(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    path = tmp_path / 'weights.pth'
    torch.save(net.state_dict(), path)  # one by one
    net[1].weight = net[0].weight
    with pytest.raises(ValueError, match='0.weight, 1.weight are one weight'):
        load_weights(net, str(path), ARGUMENT)
    torch.save(net.state_dict(), path)
    with torch.no_grad():
        before = net[0].weight.clone()
        net[0].weight.zero_()
    load_weights(net, str(path), ARGUMENT)
    assert torch.equal(net[1].weight, before)
    # What has no memory of its own yet.
    lazy = torch.nn.Sequential(torch.nn.LazyLinear(3), torch.nn.LazyLinear(3))
    load_weights(lazy, str(path), ARGUMENT)
    assert torch.equal(lazy[1].weight, before)


def test_old_files_that_do_not_bring_what_they_announce(tmp_path):
    """Weights would be what is in the memory otherwise."""
    path = tmp_path / 'old.pth'
    torch.save(
        dict(w=torch.ones(50)), path, _use_new_zipfile_serialization=False
    )
    file = io.BytesIO(path.read_bytes())
    for _ in range(4):
        list(pickletools.genops(file))
    start = file.tell()
    list(pickletools.genops(file))
    path.write_bytes(
        file.getvalue()[:start]
        + pickle.dumps([], 2)
        + file.getvalue()[file.tell() :]
    )
    with pytest.raises(CheckpointError, match='other storages'):
        load_file(path)


def test_weights_without_versions_of_layers():
    net, other = (torchvision.models.MNASNet(0.1) for _ in range(2))
    weights = dict(other.state_dict())
    load_state(net, weights)
    assert equal(net.state_dict(), weights)
    del weights['classifier.1.bias']
    with pytest.raises(RuntimeError, match='Missing .* "classifier.1.bias"'):
        load_state(net, weights)
    result = load_state(net, weights, strict=False)
    assert result.missing_keys == ['classifier.1.bias']


class TakesNoOptions(torch.nn.Linear):
    """Has a way of its own to load weights."""

    def load_state_dict(self, state_dict):
        return super().load_state_dict(state_dict)


class TakesOptions(torch.nn.Linear):
    def load_state_dict(self, state_dict, **options):
        return super().load_state_dict(state_dict, **options)


@pytest.mark.parametrize('kind', [TakesNoOptions, TakesOptions])
def test_networks_that_load_weights_in_their_own_way(kind):
    net, other = kind(2, 3), kind(2, 3)
    load_state(net, other.state_dict())
    assert equal(net.state_dict(), other.state_dict())


def test_some_weights_into_networks_that_take_options_by_name():
    net, other = TakesOptions(2, 3), TakesOptions(2, 3)
    result = load_state(net, dict(weight=other.weight.data), strict=False)
    assert result.missing_keys == ['bias']
    assert net.weight.equal(other.weight)
