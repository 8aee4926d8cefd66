# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The student out of a run, as files that need nothing of it."""

import io
import json
from pathlib import Path
from typing import (
    Any,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import torch
import torch.nn as nn
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from mmrazor.registry import MODELS

from ..models.classifiers import TorchClassifier, is_pruned
from ..models.utils import (
    check_weights,
    evaluating,
    load_weights,
    place_of_logits,
    renew_modes,
)
from ..utils import (
    digest_of_file,
    load_file,
    write_safetensors,
)
from ..utils.arguments import check_image_shape
from ..utils.files import write_files
from ..utils.imports import custom_imports, file_in_package
from ..utils.public import public
from ..version import __version__
from .card import (
    as_it_ran,
    card_meanwhile,
    card_path,
    check_license,
    files_of,
    kept_of,
    list_networks,
    model_card,
    quality_of,
    training_bank,
)
from .free_names import noted_files
from .network import Logits, own_network
from .onnx import OPSET, check_onnx, export_onnx
from .program import check_program, export_program
from .student_config import (
    class_names,
    config_text,
    plain_config,
)

# What the description of an export says of who wrote it.
EXPORTED_BY = f'csd_mmrazor {__version__}'
PathLike = Union[str, Path]


class ExportedStudent(NamedTuple):
    """What an export made."""

    model: nn.Module  # as the config builds it, in eval mode, on the CPU
    network: nn.Module  # the same without what OpenMMLab needs around it
    weights: Path  # the state dict of ``network``
    description: Path
    card: Path
    # The same weights; None, and why, where the format cannot hold them.
    safetensors: Optional[Path] = None
    not_safetensors: str = ''
    # mmpretrain's form, where it can build the student.
    checkpoint: Optional[Path] = None
    config: Optional[Path] = None
    needs_plugin: bool = False  # whether mmpretrain alone cannot build it
    imports: Sequence[str] = ()  # modules of the user that register parts
    onnx: Optional[Path] = None
    onnx_error: Optional[float] = None  # None if nothing could compare it
    program: Optional[Path] = None
    image_shape: Optional[Tuple[int, ...]] = None  # (C, H, W)
    classes: Optional[Sequence[str]] = None  # names, if they are known
    not_classes: str = ''  # why names that are known are left out


def export_student(
    cfg: Config,
    checkpoint: PathLike,
    out: PathLike,
    onnx: Optional[PathLike] = None,
    program: Optional[PathLike] = None,
    normalize: bool = False,
    teacher_license: Optional[str] = None,
    is_own_folder: bool = False,
) -> ExportedStudent:
    """Write the student in the forms in which it is used elsewhere.

    - ``OUT.pth``, the state dict of the network, under the names that its own
      class has: ``Net().load_state_dict(torch.load('OUT.pth'))``; and
      ``OUT.safetensors``, the same for programs that trust no pickle.
    - ``OUT.json``, what else is needed to use it: image shape, mean, std,
      and the names of the classes, if they are known.
    - ``OUT.md``, a model card in the form of the Hugging Face Hub; in a
      folder that is there for the student alone, ``README.md``.
    - For a student of mmpretrain's, ``OUT_mmpretrain.pth`` with the names of
      the classes and ``OUT.py``, a config with network, preprocessing and,
      if mmpretrain has such a data set, the test data.
    - On request, an ONNX file and a program of ``torch.export``.

    Args:
        cfg (Config): The run's config, or any whose ``model.architecture`` is
            a classifier, or whose ``model`` is, such as that of a teacher.
        checkpoint (str | Path): The run's checkpoint.
        out (str | Path): Where to, a name with .pth.
        onnx (str | Path, optional): Where the ONNX file is to be. Defaults
            to None.
        program (str | Path, optional): Where the program is to be, a name
            with .pt2. Defaults to None.
        normalize (bool): Whether ONNX file and program take images in [0, 1]
            and normalise them, or take normalised ones. Defaults to False.
        teacher_license (str, optional): What the teacher may be used under,
            for the card. Defaults to None, not given.
        is_own_folder (bool): Whether the folder is there for this student
            alone. Defaults to False.

    Raises:
        ValueError: If ``cfg`` is not the config of a distillation, ``out``
            has another suffix, the checkpoint is of another network, or a
            file computes something else than the student.
        ImportError: If what an exporter needs is not installed.
    """
    out = Path(out)
    check_license('teacher_license', teacher_license)
    _check_names(out, onnx, program)
    plain, model = plain_student(cfg, checkpoint)
    load_weights(model, str(checkpoint), 'checkpoint')
    renew_modes(model)
    check_weights(model, f'checkpoint {checkpoint}')
    saved = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu')
    meta = saved.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    quality = quality_of(cfg, Path(checkpoint), meta)
    classes = _class_names(meta) or class_names(cfg)
    not_classes = ''
    is_mean = meta.get('student') == 'mean'
    meta = {key: meta[key] for key in ('epoch', 'iter') if key in meta}
    network = own_network(model)
    image_shape = image_shape_of(cfg)
    if image_shape is None and (onnx or program):
        raise ValueError(
            'ONNX and torch.export need the shape of the images: set '
            'model.image_shape=(C, H, W) in the config.'
        )
    about = _describe(cfg, model, image_shape)
    number = about.get('num_classes')
    if classes and number is not None and len(classes) != number:
        not_classes = (
            f'the run names {len(classes)} classes ({classes[0]}, ...), but '
            f'the student tells {number}'
        )
        classes = None
    state = network.state_dict()
    content = _saved(state)
    safe, why_not = _safe(state)
    exported = ExportedStudent(
        model,
        network,
        out,
        out.with_suffix('.json'),
        card_path(out, is_own_folder),
        safetensors=out.with_suffix('.safetensors') if safe else None,
        not_safetensors=why_not,
        onnx=None if onnx is None else Path(onnx),
        program=None if program is None else Path(program),
        image_shape=image_shape,
        classes=classes,
        not_classes=not_classes,
    )
    description = dict(
        about,
        **(dict(classes=[*classes]) if classes else {}),
        **meta,
        **(dict(running_mean=True) if is_mean else {}),
        checkpoint=Path(checkpoint).name,
        weights=out.name,
    )
    work_dir = Path(checkpoint).parent
    bank, ran = training_bank(cfg, work_dir), as_it_ran(cfg, work_dir)
    for path in (out, exported.onnx or out, exported.program or out):
        path.parent.mkdir(parents=True, exist_ok=True)

    noted = noted_files(out)
    asked = [
        dict(file=path.name)
        for path in (exported.onnx, exported.program)
        if path is not None
    ]

    def telling(*more: Dict[str, Any]) -> List[Tuple[Path, bytes]]:
        """Say what there is, and which other files are of an export."""
        told = {**description, **(dict(earlier=[*more]) if more else {})}
        is_there = exported.checkpoint is not None
        listed = files_of(out, description, bool(safe), is_there)
        card = model_card(
            *(ran, out, description, quality, teacher_license, listed, bank)
        )
        card += kept_of(exported.card)
        return [
            (exported.description, _as_json(told)),
            (exported.card, card.encode()),
        ]

    # Killed between them, the files say that an export may overwrite them,
    # and nothing that is of other weights.
    incomplete = dict(
        exported_by=EXPORTED_BY, incomplete=True, earlier=[*noted, *asked]
    )
    files = [(exported.description, _as_json(incomplete))]
    if exported.card.exists():
        text = card_meanwhile(exported.card, out)
        files.append((exported.card, text.encode()))
    if safe and exported.safetensors is not None:
        files.append((exported.safetensors, safe))
    if not isinstance(model, TorchClassifier):
        exported, more = _for_mmpretrain(
            exported, plain, meta, classes, custom_imports(cfg)
        )
        files += more
    # The weights before what may fail.
    write_files([*files, (out, content), *telling(*noted, *asked)])
    inputs = 'images in [0, 1]' if normalize else 'normalised'
    if exported.onnx is not None:
        error = export_onnx(model, image_shape, exported.onnx, normalize)
        exported = exported._replace(onnx_error=error)
        description['onnx'] = dict(
            file=exported.onnx.name,
            opset=OPSET,
            inputs=inputs,
            sha256=digest_of_file(exported.onnx),
        )
    if exported.program is not None:
        export_program(model, image_shape, exported.program, normalize)
        description['program'] = dict(
            file=exported.program.name,
            inputs=inputs,
            sha256=digest_of_file(exported.program),
        )
    names = [part['file'] for part in asked]
    others = [part for part in noted if part.get('file') not in names]
    write_files(telling(*others))
    list_networks(out.parent)
    return exported


def _as_json(told: Dict[str, Any]) -> bytes:
    text = json.dumps(told, indent=2, ensure_ascii=False, default=str)
    return f'{text}\n'.encode()


def classes_of(
    cfg: Config, checkpoint: Union[str, Path]
) -> Optional[Sequence[str]]:
    """Names of the classes, of a run's checkpoint or else of its config.

    Args:
        cfg (Config): The run's config.
        checkpoint (str | Path): A checkpoint or weights alone; looked into if
            it is a file.

    Returns:
        sequence[str] | None: In the order of the logits; None if there are
        none.
    """
    meta = None
    if Path(checkpoint).is_file():
        found = load_file(checkpoint)
        meta = found.get('meta') if isinstance(found, dict) else None
    known = _class_names(meta) if isinstance(meta, dict) else None
    return known or class_names(cfg)


def _class_names(meta: Dict[str, Any]) -> Optional[Sequence[str]]:
    """Names of the classes that a run wrote into its checkpoint, if any."""
    found = meta.get('dataset_meta')
    found = found.get('classes') if isinstance(found, dict) else None
    is_list = isinstance(found, (list, tuple))
    return found if is_list and all(type(n) is str for n in found) else None


def _check_names(
    out: Path, onnx: Optional[PathLike], program: Optional[PathLike]
) -> None:
    if out.suffix != '.pth':
        raise ValueError(
            f'The student is written as OUT.pth, but got {out}: give it that '
            'suffix.'
        )
    if program is not None and Path(program).suffix != '.pt2':
        raise ValueError(
            'The program of torch.export is written as OUT.pt2, but got '
            f'{program}: give it that suffix.'
        )
    if onnx is not None:
        check_onnx()
        if Path(onnx).suffix != '.onnx':
            raise ValueError(
                f'The ONNX file is written as OUT.onnx, but got {onnx}: give '
                'it that suffix.'
            )
    if program is not None:
        check_program()


def image_shape_of(cfg: Config) -> Optional[Tuple[int, ...]]:
    """(C, H, W) of the student's images; None if the config does not say."""
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    shape = cfg.model.get('image_shape') or data.get('image_shape')
    if shape is None:
        return None
    check_image_shape('image_shape of the config', shape)
    return tuple(shape)


def _describe(
    cfg: Config, model: nn.Module, image_shape: Optional[Tuple[int, ...]]
) -> Dict[str, Any]:
    """What is needed to use a network."""
    network = own_network(model)
    description: Dict[str, Any] = dict(
        exported_by=EXPORTED_BY,
        network=f'{type(network).__module__}.{type(network).__qualname__}',
    )
    if isinstance(model, TorchClassifier):
        student = cfg.model.get('architecture') or cfg.model
        arguments = ConfigDict(student).to_dict()
        if is_pruned(arguments):
            arguments = arguments['network']
            # Of its weights, where they differ from what that makes.
            description.update(pruned=True)
        for name in ('type', '_scope_', 'init_cfg', 'data_preprocessor'):
            arguments.pop(name, None)
        factory = arguments.pop('factory', None)
        if model.place is None:  # its weights have other names
            factory = None
        elif model.place:
            description.update(place=model.place)
        description.update(factory=_public_factory(factory))
        description.update(arguments=public(arguments))
    if image_shape:
        logits = Logits(model)
        with torch.no_grad():
            found = logits(logits.example(1, image_shape))
        if isinstance(model, TorchClassifier):
            with evaluating(network), torch.no_grad():
                output = network(logits.example(1, image_shape))
            place = place_of_logits(output)
            description.update(dict(output=place) if place else {})
        description.update(
            image_shape=[*image_shape],
            channels={1: 'grey', 3: 'RGB'}.get(image_shape[0]),
            num_classes=found.shape[1],
        )
    channels = image_shape[0] if image_shape else 1
    return dict(
        description, **normalisation_of(model.data_preprocessor, channels)
    )


def _public_factory(factory: Any) -> Any:
    file, colon, name = f'{factory}'.rpartition(':')
    if not file.endswith('.py'):
        return public(factory)
    # Its own imports may be relative.
    return f'{file_in_package(file)}{colon}{name}'


def normalisation_of(preprocessor: Any, channels: int = 1) -> Dict[str, Any]:
    """Mean and std of images in 0..255; None where they are not normalised.

    Args:
        preprocessor (nn.Module): What makes inputs of images.
        channels (int): Of these, for which one number may stand. Defaults to
            1, as many as there are numbers.
    """
    if not getattr(preprocessor, '_enable_normalize', False):
        return dict(mean=None, std=None)
    found = {}
    for name in ('mean', 'std'):
        values = getattr(preprocessor, name).cpu().flatten().numpy()
        # The shortest number that is this one, such as 77.775.
        numbers = [round(float(str(value)), 6) for value in values]
        found[name] = numbers * channels if len(numbers) == 1 else numbers
    return found


def _for_mmpretrain(
    exported: ExportedStudent,
    plain: Config,
    meta: Dict[str, Any],
    classes: Optional[Sequence[str]],
    imports: Sequence[str],
) -> Tuple[ExportedStudent, List[Tuple[Path, bytes]]]:
    """Config and checkpoint of a student of mmpretrain's."""
    out = exported.weights
    sources = {type(module).__module__ for module in exported.model.modules()}
    if classes:
        meta = dict(meta, dataset_meta=dict(classes=tuple(classes)))
    content = _saved(
        dict(
            meta=dict(meta, exported_by=EXPORTED_BY),
            state_dict=exported.model.state_dict(),
        )
    )
    exported = exported._replace(
        checkpoint=out.with_name(f'{out.stem}_mmpretrain.pth'),
        config=out.with_suffix('.py'),
        needs_plugin=is_pruned(plain.model)
        or any(
            source.split('.')[0] in ('mmrazor', 'csd_mmrazor')
            for source in sources
        ),
        # Others register losses, data sets or the like.
        imports=[
            name
            for name in imports
            if name != 'csd_mmrazor'
            and any(f'{source}.'.startswith(f'{name}.') for source in sources)
        ],
    )
    text = config_text(
        *(plain, exported.needs_plugin, exported.imports),
        *(exported.checkpoint, out),
    )
    files = [(exported.config, text.encode()), (exported.checkpoint, content)]
    return exported, files


def _saved(content: Dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _safe(state: Dict[str, Any]) -> Tuple[bytes, str]:
    """A state dict as safetensors, or why not."""
    try:
        return write_safetensors(state), ''
    except ValueError as error:
        return b'', f'{error}'


def plain_student(
    cfg: Config, checkpoint: Optional[PathLike] = None
) -> Tuple[Config, nn.Module]:
    """The student as it is exported, with new weights.

    Args:
        cfg (Config): Of the run.
        checkpoint (str | Path, optional): With its weights, which say what
            was pruned where the config names a file that did. Defaults to
            None.

    Returns:
        tuple[Config, nn.Module]: Its :func:`plain_config`, and the student
        in eval mode, on the CPU.
    """
    plain = plain_config(cfg)
    is_named = is_pruned(plain.model) and type(plain.model.shapes) is str
    if is_named and checkpoint is not None:
        # The file that is named may be elsewhere by now.
        plain.model.shapes = str(checkpoint)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(plain.model).cpu().eval()
    if is_pruned(plain.model):
        plain.model.shapes = {
            name: [*value.shape] for name, value in model.state_dict().items()
        }
    return plain, model


def notes(exported: ExportedStudent) -> List[str]:
    """What to tell who exported a student."""
    kilobytes = exported.weights.stat().st_size / 1e3
    size = (
        f'{kilobytes / 1e3:.1f} MB'
        if kilobytes >= 1000
        else f'{kilobytes:.0f} kB'
    )
    name = type(exported.network).__name__
    told = 'image shape, mean, std and classes'
    if not exported.classes:
        told = 'image shape, mean and std'
    lines = [
        f'The student is in {exported.weights} ({size}), the state dict of '
        f'the network ({name}); {exported.description.name} beside it has '
        f'its {told}.'
    ]
    lines.append(
        f'The same weights as safetensors: {exported.safetensors.name}; '
        f'model card: {exported.card.name}'
        if exported.safetensors is not None
        else f'No safetensors are written, since {exported.not_safetensors}; '
        f'model card: {exported.card.name}'
    )
    if exported.not_classes:
        lines.append(
            f'No names of classes are written, since {exported.not_classes}: '
            'set metainfo=dict(classes=[...]) of the data set to those of '
            "the student's classes, in their order."
        )
    if exported.config is not None and exported.checkpoint is not None:
        needed = (
            ", with mmrazor and csd_mmrazor, since parts of it are MMRazor's"
            if exported.needs_plugin
            else ' without csd_mmrazor'
        )
        if exported.imports:
            listed = ' and '.join(exported.imports)
            needed += f', where {listed} can be imported'
        lines.append(
            f'mmpretrain loads it by {exported.config.name} and '
            f'{exported.checkpoint.name}{needed}.'
        )
    if exported.onnx is not None:
        comparison = (
            'not compared with the student: pip install onnxruntime'
            if exported.onnx_error is None
            else f'at most {exported.onnx_error:.2g} from those of the '
            'student, where the largest is 1'
        )
        lines.append(
            f'ONNX, opset {OPSET}: {exported.onnx}; its logits are '
            f'{comparison}.'
        )
    if exported.program is not None:
        lines.append(f'torch.export: {exported.program}')
    written = exported.safetensors, exported.onnx, exported.program
    others = [
        path.name
        for suffix in ('.safetensors', '.onnx', '.pt2')
        if (path := exported.weights.with_suffix(suffix)) not in written
        and path.exists()
    ]
    if others:
        lines.append(
            f'{" and ".join(others)} beside it, of an earlier export, may be '
            'of another student: delete or export what you need again.'
        )
    return lines
