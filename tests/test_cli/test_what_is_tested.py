# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``test_*`` is ``val_*`` where a config or option changes only that."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from helpers import ROOT, build, load, network
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS
from mmrazor.models.fake_quants import enable_val
from PIL import Image
from torch import nn

from csd_mmrazor.cli.test import let_test_on, parse_args
from csd_mmrazor.export import calibration_images, classes_of
from csd_mmrazor.utils import load_file

BASE = 'configs/csd/csd_vgg11_resnet18_cifar10.py'
OWN = "dict(batch_size=7, dataset=dict(_delete_=True, type='CustomDataset'))"
OTHER = "dict(batch_size=9, dataset=dict(_delete_=True, type='Other'))"


def types(cfg):
    return (
        cfg.val_dataloader.dataset.type,
        cfg.test_dataloader.dataset.type,
    )


@pytest.mark.parametrize(
    'files, expected',
    [
        # Each file inherits the one before it.
        ([f'val_dataloader = {OWN}'], 'CustomDataset CustomDataset'),
        ([f'val_dataloader = {OWN}', ''], 'CustomDataset CustomDataset'),
        (
            [f'val_dataloader = {OWN}\ntest_dataloader = val_dataloader', ''],
            'CustomDataset CustomDataset',
        ),
        (
            [f'val_dataloader = {OWN}\ntest_dataloader = {OTHER}', ''],
            'CustomDataset Other',
        ),
        (
            [f'test_dataloader = {OTHER}', f'val_dataloader = {OWN}'],
            'CustomDataset Other',
        ),
        (
            [
                f'test_dataloader = {OTHER}',
                f'val_dataloader = {OWN}\ntest_dataloader = val_dataloader',
                f'val_dataloader = {OTHER}',
            ],
            'Other Other',
        ),
        ([f'test_dataloader = {OTHER}'], 'mmrazor.CIFAR10Images Other'),
        ([''], 'mmrazor.CIFAR10Images mmrazor.CIFAR10Images'),
    ],
)
def test_in_files(tmp_path, files, expected):
    base = str(ROOT / BASE)
    for number, text in enumerate(files):
        path = tmp_path / f'{number}.py'
        path.write_text(f'_base_ = {base!r}\n{text}\n')
        base = str(path)
    assert ' '.join(types(load(path))) == expected


@pytest.mark.parametrize('base', [BASE, 'configs/_base_/csd.py'])
def test_evaluator_and_cfg(tmp_path, base):
    """Of a base that has no data to test on, too."""
    path = tmp_path / 'config.py'
    path.write_text(
        f'_base_ = {str(ROOT / base)!r}\n'
        f'val_dataloader = {OWN}\n'
        "val_evaluator = dict(type='Accuracy', topk=(2,))\n"
        'val_cfg = dict(fp16=True)\n'
    )
    cfg = load(path)
    assert cfg.test_evaluator == cfg.val_evaluator
    assert cfg.test_evaluator.topk == (2,)
    assert cfg.test_cfg == dict(fp16=True)
    assert cfg.test_dataloader == cfg.val_dataloader
    # A loop of its own is none for tests.
    path.write_text(path.read_text() + "val_cfg['type'] = 'ValLoop'\n")
    assert load(path).test_cfg == {}


@pytest.mark.parametrize(
    'section, value',
    [
        ('dataloader.batch_size', 3),
        ('evaluator.topk', (2,)),
        ('cfg.fp16', True),
    ],
)
def test_in_options(section, value):
    part, name = section.split('.')
    path = ROOT / BASE
    cfg = load(path, **{f'val_{section}': value})
    assert cfg[f'test_{part}'][name] == cfg[f'val_{part}'][name] == value
    cfg = load(path, **{f'test_{section}': value})
    assert cfg[f'val_{part}'].get(name) != value
    cfg = load(path, val_dataloader=None, val_evaluator=None, val_cfg=None)
    assert cfg.test_dataloader and cfg.test_evaluator


def test_weights_of_other_names(forked, tmp_path):
    """A stranger's file of the same network, by the names of its author."""
    weights = load_file(ROOT / 'docs/results/weights/digits16_csd_seed0.pth')
    renamed = {
        'module.'
        + key.replace('head.fc', 'linear').replace('backbone.', ''): v
        for key, v in weights['state_dict'].items()
    }
    torch.save(dict(state_dict=renamed, best_prec1=85.28), tmp_path / 'a.th')
    config = ROOT / 'configs/csd/csd_digits16.py'
    done = forked(config, 'a.th', tool='test.py')
    assert done.status != [0]
    assert 'map them by --revise-keys PATTERN=NEW' in done.stderr
    pairs = (r'^linear\.=head.fc.', r'^(?!head|a=b)=backbone.')
    done = forked(config, 'a.th', '--revise-keys', *pairs, tool='test.py')
    assert done.status == [0], done.output
    assert 'accuracy/top1: 85.2778' in done.stdout
    weights['state_dict']['head.fc.bias'][3] = float('nan')
    torch.save(weights, tmp_path / 'nan.pth')
    done = forked(config, 'nan.pth', tool='test.py')
    assert done.status == [1] and 'top1' not in done.output
    message = 'checkpoint nan.pth (ImageClassifier) has 1 NaN or infinite of'
    assert message in done.stderr


def test_a_name_less(monkeypatch, capsys):
    argv = ['test.py', 'c.py', 'a.th', '--revise-keys', '^linear']
    monkeypatch.setattr('sys.argv', argv)
    with pytest.raises(SystemExit):
        parse_args()
    assert '--revise-keys takes PATTERN=NEW' in capsys.readouterr().err


def test_images_of_a_folder(tmp_path):
    """They are RGB, whatever the config's own are."""
    for number in range(10):
        (tmp_path / f'{number}').mkdir()
        image = Image.new('RGB', (40, 32), (250, number, 0))
        image.save(tmp_path / f'{number}/a.png')
    cfg = load(ROOT / BASE)
    cfg.model.data_preprocessor.to_rgb = True
    # Named by their numbers, which the names of classes do not forbid.
    let_test_on(cfg, str(tmp_path), ['cat', 'dog'])
    assert not cfg.model.data_preprocessor.to_rgb
    data = DATASETS.build(cfg.test_dataloader.dataset)
    assert [data[n]['data_samples'].gt_label.item() for n in range(10)] == [
        *range(10)
    ]
    assert data[3]['inputs'][:, 0, 0].tolist() == [250, 3, 0]
    # Whatever is hidden beside them; so for what calibrates a network.
    (tmp_path / '.thumbs').mkdir()
    names = [f'class {n}' for n in range(10)]
    let_test_on(cfg, str(tmp_path), names)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 10
    pictures = calibration_images(str(tmp_path), (3, 32, 32), 10, names)
    assert pictures.labels.tolist() == [*range(10)]
    del cfg.model['data_preprocessor']
    cfg.pop('data_preprocessor', None)
    with pytest.raises(ValueError, match='--val .* needs a config of CSD'):
        let_test_on(cfg, str(tmp_path), None)
    cfg.model.data_preprocessor = dict(num_classes=10)
    del cfg.model.image_shape
    with pytest.raises(ValueError, match='--val .* needs a config of CSD'):
        let_test_on(cfg, str(tmp_path), None)


def test_folders_of_other_classes(tmp_path):
    """Sorted, they would be taken for the run's classes in another order."""
    cfg = load(ROOT / BASE)
    cfg.model.data_preprocessor.num_classes = 2
    for name in ('machine', 'zoo'):
        (tmp_path / name).mkdir()
        Image.new('RGB', (32, 32)).save(tmp_path / f'{name}/a.png')
    meta = dict(dataset_meta=dict(classes=('zoo', 'machine')))
    torch.save(dict(meta=meta, state_dict={}), tmp_path / 'a.pth')
    names = classes_of(cfg, tmp_path / 'a.pth')
    assert names == ('zoo', 'machine')
    let_test_on(cfg, str(tmp_path), names)
    data = DATASETS.build(cfg.test_dataloader.dataset)
    labels = {Path(path).parent.name: label for path, label in data.images}
    assert labels == dict(zoo=0, machine=1)
    message = '1 of 2 folders that do not match animal, machine'
    with pytest.raises(ValueError, match=message):
        let_test_on(cfg, str(tmp_path), ['animal', 'machine'])


def darts():
    """Architecture parameters, far from those that a new one begins with."""
    supernet = network(3, base_channels=8)  # for a head of 16 inputs
    supernet['backbone'] = dict(
        type='mmrazor.DartsBackbone',
        in_channels=3,
        base_channels=2,
        num_layers=2,
        num_nodes=2,
        stem_multiplier=1,
        out_indices=(1,),
        norm_cfg=dict(type='BN'),
        mutable_cfg=dict(
            type='mmrazor.DiffMutableOP',
            candidates=dict(
                zero=dict(type='mmrazor.DartsZero'),
                skip_connect=dict(type='mmrazor.DartsSkipConnect'),
                sep_conv_3x3=dict(type='mmrazor.DartsSepConv', kernel_size=3),
            ),
        ),
        route_cfg=dict(type='mmrazor.DiffChoiceRoute', with_arch_param=True),
    )
    cfg = dict(
        type='Darts',
        architecture=supernet,
        mutator=dict(type='NasMutator'),
    )

    def train(model):
        for parameter in model.mutator.parameters():
            nn.init.normal_(parameter, std=3)

    return cfg, train, 'mutator._arch_params'


def lsq():
    """Scales of its own."""
    head = 'mmpretrain.models.heads.ClsHead'
    kind = dict(type='mmrazor.LearnableFakeQuantize')
    cfg = dict(
        type='MMArchitectureQuant',
        architecture=network(3),
        quantizer=dict(
            type='OpenVINOQuantizer',
            tracer=dict(
                type='CustomTracer',
                skipped_methods=[
                    f'{head}._get_loss',
                    f'{head}._get_predictions',
                ],
            ),
            global_qconfig=dict(
                w_observer=dict(type='mmrazor.LSQPerChannelObserver'),
                a_observer=dict(type='mmrazor.LSQObserver'),
                w_fake_quant=kind,
                a_fake_quant=kind,
                w_qscheme=dict(qdtype='qint8', bit=8, is_symmetry=True),
                a_qscheme=dict(qdtype='quint8', bit=8, is_symmetry=True),
            ),
        ),
        input_shapes=(1, 3, 8, 8),
    )

    def train(model):
        with torch.no_grad():
            model(torch.rand(4, 3, 8, 8))
            for name, parameter in model.named_parameters():
                if name.endswith('.scale'):
                    parameter.mul_(2)
        model.sync_qparams('tensor')
        model.apply(enable_val)

    return cfg, train, 'qmodels.tensor'


def pruned():
    """Masks, without which all channels are there."""
    cfg = dict(
        type='ItePruneAlgorithm',
        architecture=network(3),
        mutator_cfg=dict(
            type='ChannelMutator',
            channel_unit_cfg=dict(
                type='L1MutableChannelUnit',
                default_args=dict(choice_mode='ratio'),
            ),
        ),
        step_freq=1,
    )

    def train(model):
        mutator = model.mutator
        mutator.set_choices(dict.fromkeys(mutator.choice_template, 0.5))

    return cfg, train, None


@pytest.mark.parametrize('make', [darts, lsq, pruned])
def test_what_stands_beside_the_network(make, forked, tmp_path):
    """A checkpoint of one of MMRazor's algorithms is tested as it is."""
    cfg, train, needed = make()
    cfg['data_preprocessor'] = dict(
        type='mmpretrain.ClsDataPreprocessor', mean=[99] * 3, std=[50] * 3
    )
    model = build(copy.deepcopy(cfg))
    train(model)
    state = model.state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')
    alone = {k: v for k, v in state.items() if k.startswith('architecture.')}
    torch.save(dict(state_dict=alone), tmp_path / 'alone.pth')
    folder = tmp_path / 'images'
    for index in range(6):
        path = folder / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = torch.randint(256, (8, 8, 3), dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(path)
    images = dict(
        type='mmrazor.FolderImages',
        data_root=str(folder),
        image_shape=(3, 8, 8),
    )
    Config(
        dict(
            default_scope='mmrazor',
            model=cfg,
            test_dataloader=dict(
                batch_size=6,
                num_workers=0,
                dataset=images,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            test_evaluator=dict(
                type='mmengine.DumpResults',
                out_file_path=str(tmp_path / 'found.pkl'),
            ),
            test_cfg=dict(),
        )
    ).dump(tmp_path / 'algorithm.py')
    done = forked('algorithm.py', 'epoch_1.pth', tool='test.py')
    assert done.status == [0], done.output[-3000:]
    found = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    data = default_collate([*DATASETS.build(images)])
    model.eval()  # of which Darts returns None
    with torch.no_grad():
        expected = model.test_step(data)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one['pred_score'], other.pred_score)
    done = forked('algorithm.py', 'alone.pth', tool='test.py')
    if needed is None:
        assert done.status == [0], done.output[-3000:]
        return
    assert done.status == [1]
    assert f'it lacks {needed}' in done.stderr
    assert 'Give a checkpoint of its run' in done.stderr
