# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A config of mmpretrain's for the student of a run's config."""

from pathlib import Path
from shlex import quote
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmrazor.registry import DATASETS

from ..datasets.image_folder import list_image_folder, names_of_folders
from ..datasets.pictures import picture_size
from ..utils.config_parts import part_name
from ..utils.public import public
from ..utils.teachers import without_pretrained

# Published data sets under their names in mmpretrain.
_PUBLISHED = dict(CIFAR10Images='CIFAR10', CIFAR100Images='CIFAR100')
# Suffixes of images that its CustomDataset reads.
_READ = ('.png', '.jpg', '.jpeg', '.bmp')
# Images of a folder whose size is looked at.
_LOOKED_AT = 1000
# Arguments of mmpretrain's preprocessor that a test needs.
_PREPROCESSING = (
    'mean',
    'std',
    'to_rgb',
    'num_classes',
    'pad_size_divisor',
    'pad_value',
)


def plain_config(cfg: Config) -> Config:
    """A config of mmpretrain's for the student of a run's config.

    Args:
        cfg (Config): Of the run.

    Returns:
        Config: ``model`` with its preprocessing, and ``test_*`` where
        mmpretrain has the data set.

    Raises:
        ValueError: If there is no ``model.architecture``, or it is not all
            that its algorithm computes with.
    """
    algorithm = cfg.get('model') or {}
    student = algorithm.get('architecture')
    if student is None and not {'teacher', 'teachers'} & {*algorithm}:
        # A classifier by itself, such as a teacher.
        student = algorithm if algorithm.get('type') else None
    if not isinstance(student, dict):
        raise ValueError(
            'The config has no model.architecture, the student of a '
            'distillation: give the config of the run that the checkpoint is '
            'of.'
        )
    for part in ('mutator', 'mutator_cfg', 'quantizer'):
        if algorithm.get(part):
            raise ValueError(
                f'{algorithm.get("type")} computes with more than its network '
                f'(model.{part}), which alone would be another one, and is '
                'not exported: export it by the tools of MMRazor.'
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
    student = ConfigDict(student).to_dict()
    if part_name(student).endswith('TorchClassifier'):
        # What its function takes is what makes the network, weights too:
        # torchvision's change its layers.
        student.pop('init_cfg', None)
    else:
        student = without_pretrained(student)
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
    loader, is_bgr = _test_loader(cfg)
    if loader is not None:
        if is_bgr:
            student['data_preprocessor']['to_rgb'] = True
        plain.update(
            test_dataloader=loader,
            test_evaluator=ConfigDict(
                evaluator=cfg.get('test_evaluator') or cfg.val_evaluator
            ).to_dict()['evaluator'],
            test_cfg=dict(),
        )
    return Config(plain)


def _test_loader(cfg: Config) -> Tuple[Optional[Dict], bool]:
    """The run's test data by means of mmpretrain alone, if it has any.

    Returns:
        tuple[dict | None, bool]: And whether it reads as BGR what the run
        reads as RGB.
    """
    loaders = (cfg.get('test_dataloader'), cfg.get('val_dataloader'))
    loader = next((each for each in loaders if _has_dataset(each)), None)
    if loader is None:
        return None, False
    loader = ConfigDict(loader).to_dict()
    dataset = loader['dataset']
    scope, _, name = str(dataset['type']).rpartition('.')
    if scope in ('', 'mmpretrain'):
        return loader, False
    folder = _image_folder(cfg, dataset)
    if folder is not None:
        if not _reads_alike(cfg, dataset, folder):
            return None, False
        reading = dict(type='LoadImageFromFile')
        if _channels(cfg, dataset) == 1:
            reading['color_type'] = 'grayscale'
        loader['dataset'] = dict(
            type='CustomDataset',
            data_prefix=str(folder.absolute()),
            pipeline=[reading, dict(type='PackInputs')],
        )
        return loader, True
    if name in _PUBLISHED:
        dataset['type'] = _PUBLISHED[name]
        return loader, False
    return None, False


def _has_dataset(loader: Optional[Dict]) -> bool:
    return isinstance(loader, dict) and bool(
        (loader.get('dataset') or {}).get('type')
    )


def _image_folder(cfg: Config, dataset: Dict) -> Optional[Path]:
    """The folder that has one folder of test images for each class."""
    preprocessor = cfg.model.get('data_preprocessor') or {}
    num_classes = preprocessor.get('num_classes')
    if not dataset.get('data_root'):
        return None
    for folder in (
        Path(dataset['data_root'], dataset.get('split', '')),
        Path(dataset['data_root']),
    ):
        if folder.is_dir() and num_classes == sum(
            path.is_dir() for path in folder.iterdir()
        ):
            return folder
    return None


def _channels(cfg: Config, dataset: Dict) -> int:
    shape = cfg.model.get('image_shape') or dataset.get('image_shape')
    return shape[0] if shape else 3


def _reads_alike(cfg: Config, dataset: Dict, folder: Path) -> bool:
    """Whether mmpretrain makes the same of a folder of test images.

    Its classes are in alphabetical order, whatever they are called, and its
    images keep their size.
    """
    classes = class_names(cfg)
    shape = cfg.model.get('image_shape') or dataset.get('image_shape')
    try:
        names = names_of_folders(folder, classes) if classes else None
        images = list_image_folder(folder, classes=names)
        some = images[:: -(-len(images) // _LOOKED_AT)]
        sizes = {picture_size(path) for path, _ in some}
    except Exception:  # whatever is in it
        return False
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return (
        all(
            folders.index(path.relative_to(folder).parts[0]) == label
            and path.suffix.lower() in _READ
            for path, label in images
        )
        and len(sizes) == 1
        and (shape is None or sizes == {tuple(shape[1:])})
    )


def class_names(cfg: Config) -> Optional[Sequence[str]]:
    """Names of the classes of the data that a run was validated on.

    Args:
        cfg (Config): Of the run.

    Returns:
        sequence[str] | None: None if the data has none, or validation was
        turned off.
    """
    # Where it was turned off (val_dataloader=None), the test images may be
    # left from the config that was inherited, and of other classes.
    loader = cfg.get('val_dataloader', cfg.get('test_dataloader')) or {}
    dataset = loader.get('dataset') or {}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        kind = DATASETS.get(str(dataset.get('type')))
    known = dict(
        getattr(kind, 'METAINFO', {}), **dataset.get('metainfo') or {}
    )
    given = dataset.get('classes')
    # A text is the name of a file.
    return given if isinstance(given, (list, tuple)) else known.get('classes')


def config_text(
    plain: Config,
    needs_plugin: bool,
    imports: Sequence[str],
    checkpoint: Path,
    weights: Path,
) -> str:
    """The config's file, with what to do with it.

    Args:
        plain (Config): As of :func:`plain_config`.
        needs_plugin (bool): Whether mmpretrain alone cannot build it.
        imports (sequence[str]): Modules of the user that register parts.
        checkpoint (Path): The checkpoint beside it.
        weights (Path): The weights alone.
    """
    name, file = weights.stem, checkpoint.name
    lines = [
        f'# The student in {weights.name}. In mmpretrain:',
        f"#   get_model('{name}.py', pretrained='{file}')",
    ]
    if 'test_dataloader' in plain:
        config = quote(f'{name}.py')
        lines.append(f'#   python tools/test.py {config} {quote(file)}')
        moved = _moved(plain)
        if moved:
            lines[-1] += ' --cfg-options \\'
            lines += [f'#       {key}=FOLDER' for key in moved]
            lines.append(
                '# where FOLDER is that of the test images, of which only '
                'its name\n# is here.'
            )
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
        ]
    if imports:
        lines += [
            '# Parts of the network are registered by',
            f'# {" and ".join(imports)}: put the folder that has it on',
            '# PYTHONPATH.',
        ]
    needed = ['csd_mmrazor'] * needs_plugin + list(imports)
    if needed:
        lines.append(f'custom_imports = dict(imports={needed!r})')
    # A file that leaves the house says nothing of it.
    text = Config(public(plain.to_dict())).pretty_text
    return '\n'.join(lines) + '\n' + text


def _moved(plain: Config) -> List[str]:
    """Options of the test data that have to be given where it lies."""
    where = 'test_dataloader.dataset'
    return [
        f'{where}.{key}'
        for key, value in plain.get(where.split('.')[0]).dataset.items()
        if isinstance(value, str) and public(value) != value
    ]
