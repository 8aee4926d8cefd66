# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What people get wrong, through tools/train.py."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, TIMEOUT, build, dump, network
from mmengine.config import Config
from PIL import Image

from csd_mmrazor.cli.options import check_option
from csd_mmrazor.datasets import BankFolder

SYNTHESIS = 'default_hooks.synthesis'
TEACHER = 'model.teachers.teacher'
# An error takes no more than a screen.
SCREEN = 24


# Networks that fail where only a later step would see it.
STUDENTS = """
from mmpretrain.models import ImageClassifier
from mmrazor.registry import MODELS


@MODELS.register_module()
class OnlyEval(ImageClassifier):
    def forward(self, *args, **kwargs):
        if self.training:
            raise RuntimeError('it works only in eval mode')
        return super().forward(*args, **kwargs)


@MODELS.register_module()
class NoPreprocessor(ImageClassifier):
    def __init__(self, *args, data_preprocessor=None, **kwargs):
        if data_preprocessor is not None:
            raise ValueError('it takes no preprocessor')
        super().__init__(*args, **kwargs)
"""


class Marker:
    """A crafted pickle: whoever loads it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ('executed',)


@pytest.fixture
def world(tiny_config, tmp_path):
    """A good config, and files that are not what they should be."""
    cfg = tiny_config()
    dump(cfg, tmp_path / 'config.py')
    text = (tmp_path / 'config.py').read_text()
    (tmp_path / 'syntax.py').write_text(text + '\nmodel = dict(a=\n')
    (tmp_path / 'no_model.py').write_text(text + '\ndel model\n')
    (tmp_path / 'no_teachers.py').write_text(
        text + '\nmodel.pop("teachers")\n'
    )
    (tmp_path / 'no_import.py').write_text(
        text + '\ncustom_imports = dict(imports=["no_such_package"])\n'
    )
    (tmp_path / 'no_head_optimizer.py').write_text(
        text + '\noptim_wrapper.pop("aux_head")\n'
    )
    (tmp_path / 'one_optimizer.py').write_text(
        text + '\noptim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1))\n'
    )
    (tmp_path / 'misspelt.py').write_text(
        text + '\ndefualt_hooks = dict(timer=None)\n'
    )
    (tmp_path / 'export.py').write_text(
        text + '\ncustom_hooks = [dict(type="mmrazor.ExportStudentHook", '
        'out="../student.pth")]\n'
    )
    (tmp_path / 'no_recorder.py').write_text(
        text + '\nmodel["distiller"]["student_recorders"].pop("logits")\n'
    )
    torch.save(
        build(network(base_channels=8, num_classes=1)).state_dict(),
        tmp_path / 'one_class.pth',
    )
    (tmp_path / 'matrix.py').write_text(
        text + '\nval_evaluator = dict(type="ConfusionMatrix")\n'
    )
    (tmp_path / 'rgb.py').write_text(
        text + '\nval_dataloader["dataset"] = dict('
        'type="mmrazor.DummyImages", image_shape=(3, 8, 8), length=20)\n'
    )
    (tmp_path / 'from_one.txt').write_text(
        ''.join(f'class{n}/a.png {n + 1}\n' for n in range(10))
    )
    for name, images in (
        ('from_one', 'data_root="photos", ann_file="../from_one.txt"'),
        ('nine', 'data_root="nine_photos"'),
    ):
        (tmp_path / f'{name}.py').write_text(
            f'{text}\nval_dataloader["dataset"] = dict('
            f'type="mmpretrain.CustomDataset", {images}, pipeline=[dict('
            'type="LoadImageFromFile", color_type="grayscale"), '
            'dict(type="PackInputs")])\n'
        )
    (tmp_path / 'students.py').write_text(STUDENTS)
    for name in ('OnlyEval', 'NoPreprocessor'):
        (tmp_path / f'{name}.py').write_text(
            f'{text}\nmodel["architecture"]["type"] = "mmrazor.{name}"\n'
            'custom_imports = dict(imports=["csd_mmrazor", "students"])\n'
        )
    (tmp_path / 'not.pth').write_text('This is no checkpoint.\n' * 20)
    (tmp_path / 'empty.pth').write_bytes(b'')
    torch.save(dict(state_dict=Marker()), tmp_path / 'evil.pth')
    teacher = cfg.model.teachers.teacher.ckpt_path
    whole = Path(teacher).read_bytes()
    (tmp_path / 'teacher.pth').write_bytes(whole)
    (tmp_path / 'cut.pth').write_bytes(whole[: len(whole) // 2])
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 255
    (tmp_path / 'altered.pth').write_bytes(altered)
    (tmp_path / 'file').write_text('')
    (tmp_path / 'empty').mkdir()
    photo = Image.fromarray(np.zeros((9, 9), np.uint8))
    for folder in ('photos', 'nine_photos'):
        for number in range(10 if folder == 'photos' else 9):
            path = tmp_path / folder / f'class{number}' / 'a.png'
            path.parent.mkdir(parents=True)
            photo.save(path)
    other = BankFolder(tmp_path / 'other_bank', (3, 16, 16), 10)
    images = np.zeros((2, 3, 16, 16), np.uint8)
    other.append(images, np.zeros(2, np.int64), -1, 0, True)
    bad = tmp_path / 'bad_bank'
    bad.mkdir()
    (bad / 'manifest.json').write_text('{"version": 1, "shards": [')
    (bad / 'log_000000.jsonl').touch()
    return cfg


CASES = {
    # ---- files
    'no config': (['nowhere.py'], r'nowhere\.py'),
    'config is a folder': (['empty'], 'empty'),
    'syntax error': (['syntax.py'], r'syntax\.py.*line \d+|never closed'),
    'no model': (['no_model.py'], 'has no model'),
    'package missing': (['no_import.py'], 'no_such_package'),
    'no teachers': (['no_teachers.py'], 'teachers'),
    'teacher missing': (
        [f'{TEACHER}.ckpt_path=nowhere.pth'],
        rf'{TEACHER}\.ckpt_path=nowhere\.pth does not exist',
    ),
    'teacher is text': ([f'{TEACHER}.ckpt_path=not.pth'], r'not\.pth'),
    'teacher is empty': ([f'{TEACHER}.ckpt_path=empty.pth'], r'empty\.pth'),
    'teacher is cut': (
        [f'{TEACHER}.ckpt_path=cut.pth'],
        r'cut\.pth .*cut short',
    ),
    'teacher is altered': (
        [f'{TEACHER}.ckpt_path=altered.pth'],
        r'altered\.pth was cut short or altered',
    ),
    'teacher runs code': (
        [f'{TEACHER}.ckpt_path=evil.pth'],
        r'evil\.pth is not loaded.*posix\.mkdir',
    ),
    'teacher of another width': (
        [f'{TEACHER}.build_cfg.backbone.base_channels=4'],
        rf'{TEACHER}\.ckpt_path=.* does not fit ImageClassifier',
    ),
    'teacher of a misspelt file': (
        [f'{TEACHER}.ckpt_pth=cut.pth'],
        rf'{TEACHER} has no argument ckpt_pth; .*Did you mean ckpt_path',
    ),
    'teacher without weights': (
        [f'{TEACHER}.ckpt_path=None'],
        rf'{TEACHER} has no weights .*{TEACHER}\.ckpt_path=FILE',
    ),
    'starts from a student': (
        ['load_from=teacher.pth'],
        r'load_from=.*model\.student_ckpt=FILE',
    ),
    'teacher of another depth': (
        [f'{TEACHER}.build_cfg.backbone.depth=34'],
        'lacks .* of its weights',
    ),
    'teacher of other classes': (
        [f'{TEACHER}.build_cfg.head.num_classes=7'],
        rf'{TEACHER}\.ckpt_path=.* does not fit',
    ),
    # ---- arguments
    'resume in an empty dir names a file': (
        ['--resume', 'nowhere.pth'],
        r'nowhere\.pth',
    ),
    'resume from nothing': (['--resume', ''], '--resume has an empty text'),
    'resume from a cut file': (['--resume', 'cut.pth'], r'cut\.pth .*cut'),
    'resume from a teacher': (
        ['--resume', 'TEACHER'],
        'not a checkpoint of a run: it has no message_hub',
    ),
    'resume runs code': (['--resume', 'evil.pth'], r'posix\.mkdir'),
    'no work dir': (['--work-dir', ''], "--work-dir should .* but got ''"),
    'a key that Python reserves': (
        ['val_dataloader.dataset.class=1'],
        'val_dataloader.dataset.class: "class" is a Python keyword',
    ),
    'work dir is a file': (
        ['--work-dir', 'file'],
        "It is a file. The work dir cannot be written to.*'file'",
    ),
    'fp16 on a CPU': (['--amp', 'float16'], '--amp bfloat16'),
    'no base batch size': (
        ['--auto-scale-lr', 'auto_scale_lr=None'],
        'base_batch_size',
    ),
    'no such flag': (['--rezume'], 'unrecognized arguments: --rezume'),
    'option without value': (['randomness.seed'], 'key=value'),
    'launcher without torchrun': (
        ['--launcher', 'pytorch'],
        r'--launcher pytorch.*tools/dist_train\.sh',
    ),
    # ---- misspelt
    'misspelt hook': (
        ['default_hooks.sythesis.rounds=3'],
        'did you mean default_hooks.synthesis',
    ),
    'misspelt section': (
        ['trian_cfg.max_epochs=3'],
        'did you mean train_cfg',
    ),
    'variable of the config': (['max_epochs=3'], r'train_cfg\.max_epochs'),
    'misspelt argument': ([f'{SYNTHESIS}.itres=3'], 'itres'),
    'misspelt type': (
        ['model.type=CSDDistilation'],
        'CSDDistilation',
    ),
    'misspelt loss': (
        [f'{SYNTHESIS}.synthesizer.losses.loss_oh.type=OneHotLos'],
        'OneHotLos',
    ),
    'misspelt recorder source': (
        ['model.distiller.student_recorders.feature.source=bakbone'],
        'bakbone.*Did you mean backbone',
    ),
    'misspelt optimizer': (
        ['optim_wrapper.architecture.optimizer.type=SDG'],
        'SDG',
    ),
    'misspelt aux_feature': (['model.aux_feature=nekc'], 'nekc.*neck'),
    'a section of the file': (
        ['misspelt.py'],
        'has defualt_hooks.*Did you mean default_hooks',
    ),
    'misspelt environment': (
        ['env_cfg.cudnn_benchmrk=True'],
        'Did you mean env_cfg.cudnn_benchmark',
    ),
    # ---- types
    'compile in words': (
        [f'{SYNTHESIS}.synthesizer.compile=no'],
        "compile of ImageSynthesizer should be True or False.* 'no'",
    ),
    'reset_aux_head in words': (
        [f'{SYNTHESIS}.reset_aux_head=no'],
        'reset_aux_head of SynthesisHook should be True or False',
    ),
    'normalize in words': (
        ['model.aux_head.normalize=off'],
        'normalize of SelfSupervisedAuxHead should be True or False',
    ),
    'switch of a library': (
        ['default_hooks.checkpoint.by_epoch=True1'],
        'by_epoch of DurableCheckpointHook should be True or False',
    ),
    'seed in words': (['randomness.seed=abc'], r'randomness\.seed.*integer'),
    'rate in words': (
        ['optim_wrapper.architecture.optimizer.lr=abc'],
        "architecture.optimizer.lr should be a finite number .*got 'abc'",
    ),
    'rate with a comma': (
        ['optim_wrapper.architecture.optimizer.lr=0,1'],
        r'lr of SGD should be a finite number, but got \[0, 1\]',
    ),
    'rate of synthesis in words': (
        [f'{SYNTHESIS}.synthesizer.optimizer.lr=abc'],
        "synthesizer.optimizer.lr should be a finite number .*got 'abc'",
    ),
    'memory with a unit': (
        ['train_dataloader.dataset.memory_limit=8GB'],
        "memory_limit of ImageBank should be a finite number.* '8GB'",
    ),
    'no synthesis': (
        [f'{SYNTHESIS}=None'],
        'default_hooks.synthesis should be a dict, but got None',
    ),
    'no synthesizer': (
        [f'{SYNTHESIS}.synthesizer=None'],
        'synthesizer of SynthesisHook should be a dict, but got None',
    ),
    'bank beside the work dir': (
        [f'{SYNTHESIS}.bank_dir=../bank'],
        'bank_dir of SynthesisHook .* below the work dir',
    ),
    'student beside the work dir': (
        ['export.py'],
        'out of ExportStudentHook .* below the work dir',
    ),
    # ---- numbers
    'negative iters': (
        [f'{SYNTHESIS}.synthesizer.iters=-5'],
        'iters of ImageSynthesizer .* but got -5',
    ),
    'zero iters': (
        [f'{SYNTHESIS}.init_iters=0'],
        'init_iters of SynthesisHook .* but got 0',
    ),
    'iters in words': (
        [f'{SYNTHESIS}.synthesizer.iters=many'],
        "iters of ImageSynthesizer .* but got 'many'",
    ),
    'rounds are a fraction': (
        [f'{SYNTHESIS}.rounds=0.5'],
        'rounds of SynthesisHook .* but got 0.5',
    ),
    'negative weight': (
        [f'{SYNTHESIS}.synthesizer.losses.loss_csd.loss_weight=-10'],
        'loss_weight of CSDLoss .* but got -10',
    ),
    'weight in words': (
        [f'{SYNTHESIS}.synthesizer.losses.loss_csd.loss_weight=ten'],
        "loss_weight of CSDLoss .* but got 'ten'",
    ),
    'nothing to minimise': (
        [
            f'{SYNTHESIS}.synthesizer.losses.{name}.loss_weight=0'
            for name in ('loss_oh', 'loss_bn', 'loss_csd')
        ],
        'nothing to minimise',
    ),
    'images of another size': (
        [f'{SYNTHESIS}.synthesizer.generator.img_size=16'],
        r'images of \(1, 16, 16\), but model.image_shape is \(1, 8, 8\)',
    ),
    'crops beside the images, in training': (
        [
            'model.data_preprocessor.augment._delete_=true',
            'model.data_preprocessor.augment.type=RandomCropFlip',
            'model.data_preprocessor.augment.padding=8',
        ],
        'model.data_preprocessor.augment has padding=8, but images are 8x8',
    ),
    'crops beside the images, in synthesis': (
        [
            f'{SYNTHESIS}.synthesizer.augment._delete_=true',
            f'{SYNTHESIS}.synthesizer.augment.type=RandomCropFlip',
            f'{SYNTHESIS}.synthesizer.augment.padding=9',
        ],
        '^.*augment of the synthesizer has padding=9, but images are 8x8',
    ),
    'no draws': (
        ['train_dataloader.sampler.num_samples=0'],
        'num_samples of BankSampler .* but got 0',
    ),
    'no batch': (['train_dataloader.batch_size=0'], 'batch_size.*0'),
    'no epochs': (['train_cfg.max_epochs=0'], 'max_epochs.*0'),
    'mean of three for grey': (
        [
            'model.data_preprocessor.mean=[1,2,3]',
            'model.data_preprocessor.std=[1,2,3]',
        ],
        'mean and std .* have 3 values each, .* have 1 channels',
    ),
    'mean without std': (['model.data_preprocessor.std=None'], 'std'),
    'std of zero': (
        ['model.data_preprocessor.std=[0.0]'],
        'std of BankDataPreprocessor should be above 0',
    ),
    # ---- parts that do not fit
    'student of other classes': (
        ['model.architecture.head.num_classes=7'],
        'same number of classes.*7.*10',
    ),
    'student of other channels': (
        ['model.architecture.backbone.in_channels=3'],
        r'student \(ImageClassifier\) does not take',
    ),
    'connector of other channels': (
        ['model.distiller.connectors.align.out_channel=5'],
        'losses cannot be computed: check model.distiller',
    ),
    'no auxiliary head': (
        ['model.aux_head=None'],
        'needs the auxiliary head',
    ),
    'head without optimizer': (
        ['no_head_optimizer.py'],
        'needs an optimizer for its "aux_head"',
    ),
    'one optimizer for all': (
        ['one_optimizer.py'],
        'needs an optimizer for its "architecture"',
    ),
    'loss of no recorder': (['no_recorder.py'], 'logits'),
    'workers on the device': (
        [
            'train_dataloader.num_workers=1',
            'train_dataloader.dataset.storage=device',
        ],
        'num_workers=0',
    ),
    'storage unknown': (
        ['train_dataloader.dataset.storage=ram'],
        "storage of ImageBank .* but got 'ram'",
    ),
    # ---- data
    'labels from 1': (
        ['from_one.py'],
        r'val_dataloader.dataset has the labels 10, but .*10 classes, 0..9',
    ),
    'validation without a class': (
        ['nine.py'],
        'folders of 9 classes, class0, .* but the network has 10, so labels',
    ),
    'init_bank missing': (
        ['train_dataloader.dataset.init_bank=nowhere'],
        'init_bank=nowhere',
    ),
    'init_bank empty': (
        ['train_dataloader.dataset.init_bank=empty'],
        'no images in empty',
    ),
    'init_bank of another shape': (
        ['train_dataloader.dataset.init_bank=other_bank'],
        r'other_bank has image_shape=\[3, 16, 16\]',
    ),
    'init_bank of other photos': (
        ['train_dataloader.dataset.init_bank=photos'],
        '9x9 pixels',
    ),
    'init_bank without a class': (
        ['train_dataloader.dataset.init_bank=nine_photos'],
        'nine_photos has images of 9 classes, but there are 10',
    ),
    'init_bank damaged': (
        ['train_dataloader.dataset.init_bank=bad_bank'],
        'manifest of the image bank',
    ),
    'validation images missing': (
        [
            'val_dataloader.dataset.type=mmrazor.CIFAR10Images',
            'val_dataloader.dataset.data_root=empty',
        ],
        r'cifar-10-python\.tar\.gz is needed',
    ),
    'validation without a pipeline': (
        ['val_dataloader.dataset.pipeline=[]'],
        'first batch of validation failed',
    ),
    'metric unknown': (['val_evaluator.type=Acuracy'], 'Acuracy'),
    'best by a metric that there is not': (
        ['default_hooks.checkpoint.save_best=accuracy/top5'],
        'save_best.*accuracy/top5.*accuracy/top1',
    ),
    'schedule unknown': (
        ['param_scheduler.architecture.type=CosineLR'],
        'CosineLR',
    ),
    # ---- what only later work would stumble on
    'checkpoint argument misspelt': (
        ['default_hooks.checkpoint.max_keep_ckpt=1'],
        r'max_keep_ckpt=1 is no argument .*did you mean max_keep_ckpts\?',
    ),
    "MMEngine's checkpoint argument misspelt": (
        [
            'default_hooks.checkpoint.type=CheckpointHook',
            'default_hooks.checkpoint.max_keep_ckpt=1',
        ],
        r'CheckpointHook.*check default_hooks\.checkpoint.*max_keep_ckpt',
    ),
    'checkpoint dir cannot be written': (
        [
            'default_hooks.checkpoint.type=CheckpointHook',
            'default_hooks.checkpoint.out_dir=file',
        ],
        r'check default_hooks\.checkpoint.*Not a directory.*file',
    ),
    'checkpoint interval in words': (
        ['default_hooks.checkpoint.interval=often'],
        r"default_hooks\.checkpoint\.interval .* integer, but got 'often'",
    ),
    'log_interval of 0': (
        ['model.log_interval=0'],
        r'log_interval .*positive integer, but got 0',
    ),
    'logger interval of 0': (
        ['default_hooks.logger.interval=0'],
        r'default_hooks\.logger\.interval .*positive integer, but got 0',
    ),
    'for GPUs': (
        ['optim_wrapper.architecture.type=AmpOptimWrapper'],
        r"architecture\.type='AmpOptimWrapper' is for GPUs. Take mmengine\.Op",
    ),
    'a misspelt argument': (
        [f'{SYNTHESIS}.init_round=3'],
        "SynthesisHook has no argument 'init_round'. Did you mean 'init_round",
    ),
    'val_interval of 0': (
        ['train_cfg.val_interval=0'],
        r'train_cfg\.val_interval .*positive integer, but got 0',
    ),
    'one class': (
        [
            f'{TEACHER}.ckpt_path=one_class.pth',
            'model.architecture.head.num_classes=1',
            f'{TEACHER}.build_cfg.head.num_classes=1',
        ],
        r'at least 2 classes, but got .*head\.num_classes',
    ),
    **{
        f'tau={tau}': (
            [f'model.distiller.distill_losses.loss_kd.tau={tau}'],
            r'distill_losses\.loss_kd\.tau should be a finite number above 0, '
            f"but got '?{tau}",
        )
        for tau in ('0', '-4', 'nan', 'inf', 'hot')
    },
    **{
        option: (
            [option],
            rf'{option.partition("=")[0]} should be {most} at most, but got ',
        )
        for option, most in {
            'model.distiller.distill_losses.loss_kd.tau=1e308': '1,000,000',
            'train_cfg.max_epochs=1000000000000': '10,000,000',
            'train_dataloader.batch_size=1000000000': '1,000,000',
            'val_dataloader.num_workers=1000000': '1,000',
        }.items()
    },
    **{
        f'lr={lr}': (
            [f'optim_wrapper.{part}.optimizer.lr={lr}'],
            rf'optim_wrapper\.{part}\.optimizer\.lr should .* '
            rf"(0 or more|above 0), but got '?{lr}",
        )
        for part, lr in (
            ('architecture', 'nan'),
            ('architecture', 'inf'),
            ('aux_head', '-0.1'),
            ('aux_head', 'fast'),
        )
    },
    'lr far too high': (
        ['optim_wrapper.architecture.optimizer.lr=1e38'],
        r'(nan|inf|not a number).* optim_wrapper\.architecture\.optimizer\.lr='
        r'1e\+38',
    ),
    'lr of images': (
        [f'{SYNTHESIS}.synthesizer.optimizer.lr=nan'],
        r'synthesizer\.optimizer\.lr should .* but got nan',
    ),
    'images diverge': (
        [f'{SYNTHESIS}.synthesizer.optimizer.lr=1e38'],
        r'Two steps of synthesis failed: check default_hooks\.synthesis\.'
        'synthesizer.*Lower the learning rate',
    ),
    'images that are not optimised': (
        [f'{SYNTHESIS}.synthesizer.optimizer.lr=0'],
        r'synthesizer\.optimizer\.lr should be .* above 0, but got 0',
    ),
    'a student that does not learn': (
        ['optim_wrapper.architecture.optimizer.lr=0'],
        r'architecture\.optimizer\.lr should be .* above 0, but got 0',
    ),
    'a negative loss weight': (
        ['model.student_loss.loss_weight=-1'],
        r'model\.student_loss\.loss_weight should .* 0 or more, but got -1',
    ),
    'a loss the other way': (
        ['model.distiller.distill_losses.loss_kd.loss_weight=-1'],
        r'loss_kd\.loss_weight should .* 0 or more, but got -1',
    ),
    'loss weight is NaN': (
        ['model.student_loss.loss_weight=nan'],
        r'model\.student_loss\.loss_weight should .* but got nan',
    ),
    'loss weight is too high': (
        ['model.distiller.distill_losses.loss_kd.loss_weight=1e40'],
        r'distill\.loss_kd is (inf|nan) in student step 1: check '
        r'model\.distiller\.distill_losses\.loss_kd=.*1e\+40',
    ),
    'mean and std of 0..1': (
        [
            'model.data_preprocessor.mean=[0.31]',
            'model.data_preprocessor.std=[0.38]',
        ],
        r'mean=\[0.31\] and std=\[0.38\] .*multiply them by 255',
    ),
    'a last batch of one image': (
        [
            'train_dataloader.sampler.num_samples=33',
            'model.architecture.backbone.num_stages=4',
            'model.architecture.backbone.strides=[2,2,2,2]',
            'model.architecture.backbone.dilations=[1,1,1,1]',
            'model.architecture.backbone.out_indices=[3]',
            'model.architecture.head.in_channels=32',
        ],
        r'cannot train on one image: .*num_samples',
    ),
    'schedule by no metric': (
        [
            'param_scheduler.architecture.type=ReduceOnPlateauLR',
            'param_scheduler.architecture.monitor=acc',
        ],
        r"monitor='acc' of ReduceOnPlateauLR .*none of .*accuracy/top1",
    ),
    'schedule by a rule that there is not': (
        [
            'param_scheduler.architecture.type=ReduceOnPlateauLR',
            'param_scheduler.architecture.monitor=accuracy/top1',
            'param_scheduler.architecture.rule=max',
        ],
        r"param_scheduler\.architecture\.rule .*'less', but got 'max'",
    ),
    'schedule to negative rates': (
        [
            'param_scheduler.architecture.type=CosineAnnealingLR',
            'param_scheduler.architecture.eta_min=-1',
        ],
        r'CosineAnnealingLR of param_scheduler\.architecture brings lr to -',
    ),
    'stops early by no metric': (
        ['default_hooks.early.type=EarlyStoppingHook']
        + ['default_hooks.early.monitor=acc'],
        r"monitor='acc' of EarlyStoppingHook .*none of .*accuracy/top1",
    ),
    'stops early by a rule that there is not': (
        ['default_hooks.early.type=EarlyStoppingHook']
        + ['default_hooks.early.monitor=accuracy/top1']
        + ['default_hooks.early.rule=max'],
        r"default_hooks\.early\.rule .*'less', but got 'max'",
    ),
    'stops early after no patience': (
        ['default_hooks.early.type=EarlyStoppingHook']
        + ['default_hooks.early.monitor=accuracy/top1']
        + ['default_hooks.early.patience=long'],
        r"default_hooks\.early\.patience .*integer, but got 'long'",
    ),
    'best by a metric that is no number': (
        ['matrix.py'],
        r"save_best='auto' .*confusion_matrix/result, which is no number",
    ),
    'metric that fails': (
        ['val_evaluator.topk=[50]'],
        'first batch of validation failed: check val_dataloader, '
        'val_evaluator',
    ),
    'validation images of other channels': (
        ['rgb.py'],
        'first batch of validation failed: check val_dataloader',
    ),
    **{
        f'max_norm={value}': (
            [f'optim_wrapper.architecture.clip_grad.max_norm={value}'],
            r'optim_wrapper\.architecture\.clip_grad\.max_norm should be a '
            f"(finite number or inf|number above 0), but got '?{value}",
        )
        for value in ('big', '0', '-5', 'nan')
    },
    'clip_grad misspelt': (
        ['optim_wrapper.architecture.clip_grad.maxnorm=5'],
        r'clip_grad has no argument maxnorm\. Did you mean .*max_norm',
    ),
    'loss of MMRazor that nothing computes': (
        [
            str(ROOT / 'configs/baselines/dafl_digits.py'),
            'model.teachers.teacher.ckpt_path=none',
            'model.generator_distiller.distill_losses.loss_more.type='
            'InformationEntropyLoss',
        ],
        r'generator_distiller\.distill_losses\.loss_more .* say what it '
        r'looks at in generator_distiller\.loss_forward_mappings\.loss_more',
    ),
    'head of another width': (
        ['model.aux_head.in_channels=5'],
        "aux_head does not take the student's features of shape .*, 8",
    ),
    'student that cannot train': (
        ['OnlyEval.py'],
        r'student in train mode .*only in eval mode',
    ),
    'student that cannot be exported': (
        ['NoPreprocessor.py'],
        r'export of the student failed: check model\.architecture',
    ),
}


def arguments(case, cfg):
    """A command line: the config and --work-dir first, options last."""
    words = [
        str(cfg.model.teachers.teacher.ckpt_path) if w == 'TEACHER' else w
        for w in CASES[case][0]
    ]
    config = 'config.py'
    if words[0].endswith('.py') or words[0] == 'empty':
        config = words.pop(0)
    options = [w for w in words if '=' in w or w == 'randomness.seed']
    flags = [w for w in words if w not in options]
    if '--work-dir' not in flags:
        flags += ['--work-dir', 'run']
    return [config, *flags, *(['--cfg-options', *options] if options else [])]


@pytest.mark.parametrize('case', CASES)
def test_it_is_told(forked, world, tmp_path, case):
    setup = 'sys.path.insert(0, os.getcwd())'
    done = forked(*arguments(case, world), setup=setup)
    print(f'--- {case}\n{done.stderr}')
    assert done.status[0] in (1, 2), done.output[-2000:]
    told = ' '.join(done.stderr.split('The traceback is in ')[-1].split())
    told = told.split('.log ', 1)[-1]
    assert re.search(CASES[case][1], told)
    assert len(done.stderr.splitlines()) <= SCREEN
    assert max(map(len, done.stderr.splitlines())) < 600
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'executed').exists()
    # Logs may be left, but nothing that a later run would stumble on.
    work = tmp_path / 'run'
    assert not list(work.rglob('*.npy')) + list(work.rglob('*.pth'))
    assert not list(work.rglob('manifest.json')) + list(work.rglob('*.tmp'))


def test_a_later_run_does_not_stumble(forked, world):
    """Where several of these were tried, the right command works."""
    for case in (
        'teacher is cut',
        'head without optimizer',
        'init_bank of other photos',
        'best by a metric that there is not',
    ):
        assert forked(*arguments(case, world)).status == [1]
    good = forked('config.py', '--work-dir', 'run')
    assert good.status == [0], good.output[-2000:]


def test_on_the_real_command_line(run, world):
    case = 'teacher is cut'
    done = run(
        *(ROOT / 'tools/train.py', *arguments(case, world)),
        check=False,
        timeout=TIMEOUT,
        PYTHONWARNINGS='ignore',
    )
    assert done.returncode == 1
    assert re.search(CASES[case][1], done.stderr)
    assert len(done.stderr.splitlines()) <= SCREEN


def test_options_that_are_right():
    """New arguments and sections are nobody's mistake."""
    cfg = Config.fromfile(ROOT / 'configs/csd/csd_quickstart_digits.py')
    for option in (
        'optim_wrapper.architecture.clip_grad.max_norm',
        'train_dataloader.dataset.memory_limit',
        'model.teachers.other.ckpt_path',
        'randomness.deterministic',
        'auto_scale_lr.base_batch_size',
        'val_dataloader.dataset.pipeline.0.type',
        'sync_bn',
        'load_from',
        'custom_hooks',
    ):
        check_option(cfg, option)
    for option, places in (
        ('latent_dim', f'{SYNTHESIS}.synthesizer.generator.latent_dim'),
        ('batch_size', 'train_dataloader.batch_size'),
        ('augment.padding', 'model.data_preprocessor.augment.padding'),
        ('model.distiler.distill_losses', 'did you mean model.distiller'),
    ):
        with pytest.raises(ValueError, match=places):
            check_option(cfg, option)
