# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The student out of a run, as a plain classifier of mmpretrain."""

import io
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
import torch.nn as nn
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from mmengine.utils import import_modules_from_strings
from mmrazor.registry import DATASETS, MODELS
from torch import Tensor

from .models.utils import load_weights, logits_of
from .utils import list_checkpoints, own_file, parse_config, write_file
from .version import __version__

# Published data sets under their names in mmpretrain.
_PUBLISHED = dict(CIFAR10Images='CIFAR10', CIFAR100Images='CIFAR100')
# Arguments of mmpretrain's preprocessor that a test needs.
_PREPROCESSING = (
    'mean',
    'std',
    'to_rgb',
    'num_classes',
    'pad_size_divisor',
    'pad_value',
)


class ExportedStudent(NamedTuple):
    """What an export made."""

    model: nn.Module  # in eval mode, on the CPU
    checkpoint: Path
    config: Path
    needs_plugin: bool  # whether mmpretrain alone cannot build it


def find_checkpoint(source: Union[str, Path]) -> Path:
    """The checkpoint of a run.

    Args:
        source (str | Path): A work dir, whose best checkpoint is taken, or
            the latest if none was validated; or a checkpoint.

    Raises:
        FileNotFoundError: If there is none.
    """
    source = path = Path(source)
    if source.is_dir():
        found = sorted(
            source.glob('best_*.pth'), key=lambda path: path.stat().st_mtime
        )
        found = found[-1:] or [
            path
            for path in list_checkpoints(source)
            if own_file(source, path.name)
        ]
        path = found[0] if found else source
    if not path.is_file():
        raise FileNotFoundError(
            f'{source} is no checkpoint, nor a folder with one (best_*.pth, '
            'or what its last_checkpoint names). Give the work dir of a run, '
            'or one of its checkpoints.'
        )
    return path


def find_config(checkpoint: Path) -> Path:
    """The config that the runner left beside a checkpoint, the latest.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = sorted(
        checkpoint.parent.glob('*.py'), key=lambda path: path.stat().st_mtime
    )
    if not found:
        raise FileNotFoundError(
            f'There is no config beside {checkpoint}: name that of the run, '
            '--config CONFIG.py'
        )
    return found[-1]


def read_run_config(path: Path) -> Config:
    """Read the config that a runner left, without running it.

    Args:
        path (Path): As of :func:`find_config`.

    Returns:
        Config: What it says; what its ``custom_imports`` names is imported.

    Raises:
        ValueError: If it is not what a runner writes.
    """
    try:
        cfg = Config(parse_config(path.read_text(encoding='utf-8')))
    except ValueError as error:
        raise ValueError(
            f'{path}, beside the checkpoint, is not a config that a run '
            f'writes: {error}. If you trust it, name it: --config {path}'
        ) from error
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    return cfg


def export_student(
    cfg: Config, checkpoint: Union[str, Path], out: Union[str, Path]
) -> ExportedStudent:
    """Write the student as a checkpoint, with a config of its own beside it.

    The checkpoint holds nothing but its weights and the classes' names; the
    config (same name, .py) its network, the preprocessing, and the test data
    if mmpretrain has such a data set.

    Args:
        cfg (Config): The run's config, or any whose ``model.architecture`` is
            a classifier.
        checkpoint (str | Path): The run's checkpoint.
        out (str | Path): Where to, a name with .pth.

    Raises:
        ValueError: If ``cfg`` is not the config of a distillation, ``out``
            has another suffix, or the checkpoint is of another network.
    """
    out = Path(out)
    if out.suffix != '.pth':
        raise ValueError(
            f'The student is written as OUT.pth, but got {out}: give it that '
            'suffix.'
        )
    plain, model = plain_student(cfg)
    load_weights(model, str(checkpoint), 'checkpoint')
    saved = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu')
    meta = saved.get('meta', {})
    meta = {key: meta[key] for key in ('epoch', 'iter') if key in meta}
    classes = _class_names(cfg)
    if classes:
        meta['dataset_meta'] = dict(classes=tuple(classes))
    buffer = io.BytesIO()
    torch.save(
        dict(
            meta=dict(meta, exported_by=f'csd_mmrazor {__version__}'),
            state_dict=model.state_dict(),
        ),
        buffer,
    )
    needs_plugin = any(
        type(module).__module__.split('.')[0] in ('mmrazor', 'csd_mmrazor')
        for module in model.modules()
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    config = out.with_suffix('.py')
    text = _config_text(plain, needs_plugin, out)
    write_file(config, text.encode())
    write_file(out, buffer.getvalue())
    return ExportedStudent(model, out, config, needs_plugin)


def plain_student(cfg: Config) -> Tuple[Config, nn.Module]:
    """The student as it is exported, with new weights.

    Args:
        cfg (Config): Of the run.

    Returns:
        tuple[Config, nn.Module]: Its :func:`plain_config`, and the student
        in eval mode.
    """
    plain = plain_config(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return plain, MODELS.build(plain.model).eval()


def plain_config(cfg: Config) -> Config:
    """A config of mmpretrain's for the student of a run's config.

    Args:
        cfg (Config): Of the run.

    Returns:
        Config: ``model`` with its preprocessing, and ``test_*`` where
        mmpretrain has the data set.

    Raises:
        ValueError: If there is no ``model.architecture``.
    """
    algorithm = cfg.get('model', {})
    student = algorithm.get('architecture')
    if not isinstance(student, dict):
        raise ValueError(
            'The config has no model.architecture, the student of a '
            'distillation: give the config of the run that the checkpoint is '
            'of.'
        )
    scope = algorithm.get('_scope_') or cfg.get('default_scope', 'mmpretrain')
    preprocessor = algorithm.get('data_preprocessor') or cfg.get(
        'data_preprocessor'
    )
    if 'cfg_path' in student and 'type' not in student:
        named = get_config(student.cfg_path)
        more = {
            key: value
            for key, value in student.items()
            if key not in ('cfg_path', 'pretrained')
        }
        scope = named.get('default_scope') or student.cfg_path.split('::')[0]
        preprocessor = preprocessor or named.get('data_preprocessor')
        student = ConfigDict(more, **named.model)
    # Plain dicts, without what only a run of training needs.
    student = _without_pretrained(ConfigDict(student).to_dict())
    scope = student.pop('_scope_', scope)
    if scope != 'mmpretrain':
        student['_scope_'] = scope
    # The algorithm's counts for the student in training and validation.
    preprocessor = dict(preprocessor or student.get('data_preprocessor') or {})
    if preprocessor.get('bgr_to_rgb') or preprocessor.get('rgb_to_bgr'):
        preprocessor['to_rgb'] = True  # as mmpretrain calls either
    student['data_preprocessor'] = {
        # mmpretrain's default, which is not that of other networks.
        'type': 'mmpretrain.ClsDataPreprocessor',
        **{
            key: value
            for key, value in preprocessor.items()
            if key in _PREPROCESSING
        },
    }
    plain = dict(default_scope='mmpretrain', model=student)
    loader = _test_loader(cfg)
    if loader is not None:
        if loader['dataset']['type'] == 'CustomDataset':
            # It reads files, as BGR.
            student['data_preprocessor']['to_rgb'] = True
        plain.update(
            test_dataloader=loader,
            test_evaluator=ConfigDict(
                evaluator=cfg.get('test_evaluator') or cfg.val_evaluator
            ).to_dict()['evaluator'],
            test_cfg=dict(),
        )
    return Config(plain)


def _without_pretrained(part):
    """A config's part without files that weights were to come from."""
    if isinstance(part, (list, tuple)):
        return type(part)(map(_without_pretrained, part))
    if not isinstance(part, dict):
        return part

    def is_file(key, value) -> bool:
        if key == 'pretrained':
            return True
        return (
            key == 'init_cfg'
            and isinstance(value, dict)
            and value.get('type') == 'Pretrained'
        )

    return {
        key: _without_pretrained(value)
        for key, value in part.items()
        if not is_file(key, value)
    }


def _test_loader(cfg: Config) -> Optional[Dict]:
    """The run's test data by means of mmpretrain alone, if it has any."""
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if not isinstance(loader, dict):
        return None
    loader = ConfigDict(loader).to_dict()
    dataset = loader['dataset']
    scope, _, name = str(dataset['type']).rpartition('.')
    if scope in ('', 'mmpretrain'):
        return loader
    folder = _class_folders(cfg, dataset)
    if folder is not None:
        loader['dataset'] = dict(
            type='CustomDataset',
            data_prefix=str(folder.absolute()),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        )
        return loader
    if name in _PUBLISHED:
        dataset['type'] = _PUBLISHED[name]
        return loader
    return None


def _class_folders(cfg: Config, dataset: Dict) -> Optional[Path]:
    """The folder that has one folder of test images for each class."""
    num_classes = cfg.model.get('data_preprocessor', {}).get('num_classes')
    for folder in (
        Path(dataset.get('data_root', ''), dataset.get('split', '')),
        Path(dataset.get('data_root', '')),
    ):
        if folder.is_dir() and num_classes == sum(
            path.is_dir() for path in folder.iterdir()
        ):
            return folder
    return None


def _class_names(cfg: Config) -> Optional[Sequence[str]]:
    """Names of the classes, of the data that the run was validated on."""
    loader = cfg.get('val_dataloader') or cfg.get('test_dataloader') or {}
    dataset = loader.get('dataset', {})
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        kind = DATASETS.get(str(dataset.get('type')))
    known = getattr(kind, 'METAINFO', {})
    return dict(known, **dataset.get('metainfo') or {}).get('classes')


def _config_text(plain: Config, needs_plugin: bool, out: Path) -> str:
    name = out.stem
    lines = [
        f'# The student in {out.name}. In mmpretrain:',
        f"#   get_model('{name}.py', pretrained='{out.name}')",
    ]
    if 'test_dataloader' in plain:
        lines.append(f'#   python tools/test.py {name}.py {out.name}')
    else:
        lines += [
            '# mmpretrain has no data set like the one that the run was',
            '# validated on: for its tools/test.py, add test_dataloader,',
            '# test_evaluator and test_cfg.',
        ]
    if needs_plugin:
        lines += [
            "# Parts of the network are MMRazor's: this needs mmrazor and, on",
            '# torch >= 2, csd_mmrazor, which makes it importable.',
            "custom_imports = dict(imports=['csd_mmrazor'])",
        ]
    return '\n'.join(lines) + '\n' + plain.pretty_text


class _Logits(nn.Module):
    """A classifier that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return logits_of(self.model(inputs, mode='tensor'))


def export_onnx(
    model: nn.Module, image_shape: Sequence[int], out: Union[str, Path]
) -> Optional[float]:
    """Write a classifier for ONNX: ``inputs`` to ``logits``.

    ``inputs`` are normalised images, any number of them.

    Args:
        model (nn.Module): In eval mode.
        image_shape (sequence[int]): (C, H, W).
        out (str | Path): Where to.

    Returns:
        float | None: How far the file's logits are from the model's at most,
        on random inputs; None if onnxruntime is not installed.

    Raises:
        ImportError: If torch's exporter lacks a package; says which.
        ValueError: If the file computes something else than the model.
    """
    missing = [n for n in ('onnx', 'onnxscript') if find_spec(n) is None]
    if missing:
        raise ImportError(
            "torch's ONNX exporter needs packages that are not installed: "
            f'pip install {" ".join(missing)}'
        )
    import onnx

    inputs = torch.randn(2, *image_shape)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'student.onnx'))
        torch.onnx.export(
            _Logits(model),
            (inputs,),
            path,
            input_names=['inputs'],
            output_names=['logits'],
            dynamic_axes=dict(inputs={0: 'batch'}, logits={0: 'batch'}),
        )
        # The exporter puts the weights into a second file.
        content = onnx.load(path).SerializeToString()
    write_file(out, content)
    if find_spec('onnxruntime') is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(out), providers=['CPUExecutionProvider']
    )
    largest = 0.0
    for count in (1, 3):
        inputs = torch.randn(count, *image_shape)
        with torch.no_grad():
            expected = logits_of(model(inputs, mode='tensor'))
        (found,) = session.run(None, dict(inputs=inputs.numpy()))
        difference = (torch.from_numpy(found) - expected).abs().max().item()
        largest = max(largest, difference)
        if difference > 1e-3 * expected.abs().max().item():
            raise ValueError(
                f'{out} computes logits that are up to {difference:.2g} away '
                f'from those of the student, which are up to '
                f'{expected.abs().max().item():.2g}: do not use it.'
            )
    return largest


def notes(exported: ExportedStudent) -> List[str]:
    """What to tell who exported a student."""
    size = exported.checkpoint.stat().st_size / 1e6
    lines = [
        f'The student is in {exported.checkpoint} ({size:.1f} MB), its config '
        f'in {exported.config}.'
    ]
    if exported.needs_plugin:
        lines.append(
            "Parts of it are MMRazor's: where it is loaded, mmrazor and "
            'csd_mmrazor have to be installed.'
        )
    else:
        lines.append('mmpretrain loads it without csd_mmrazor.')
    return lines
