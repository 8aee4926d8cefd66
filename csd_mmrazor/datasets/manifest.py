# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a bank of images says of itself, and how that is written.

``manifest.json`` has a few hundred bytes however large the bank is. The shards
are lines of a log beside it, which is only ever appended to; the manifest says
how many bytes of it count, with their checksum, and is replaced last. So a
round costs one line, whatever lies after the last one that counts is of a
writer that was killed, and no cut or changed byte goes unnoticed.
"""

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from ..utils.files import own_file, parse_json, write_file
from .held_out import HeldOut

# What ``Shard.epoch`` is for images that no training epoch asked for.
IMPORTED = -2
INITIAL = -1


class Shard(NamedTuple):
    """One file of a bank: the images of one round."""

    name: str
    count: int  # type: ignore[assignment]  # no tuple's method is meant
    sha256: str
    epoch: int  # of the training, or INITIAL or IMPORTED
    # Of the round among those of its epoch.
    index: int  # type: ignore[assignment]
    # Of its images from training, where it was imported with that; None for
    # what the bank says.
    held_out: Optional[HeldOut] = None
    # Whether its images are pictures that it has from another bank, which
    # was started from a folder of them.
    real: bool = False

    @property
    def number(self) -> int:
        """What its name begins with. Later shards have larger ones."""
        return int(self.name.split('.')[0])

    def entry(self) -> Dict[str, Any]:
        """What :func:`parse_shard` reads."""
        entry = self._asdict()
        held_out = entry.pop('held_out')
        if held_out is not None:
            entry['held_out'] = held_out._asdict()
        if not self.real:
            del entry['real']
        return entry

    @property
    def format(self) -> str:
        """Of its images: 'raw', 'png', 'jpeg' or 'webp'."""
        parts = self.name.split('.')
        return parts[1] if len(parts) == 3 else 'raw'


class TargetKind(NamedTuple):
    """What the targets of a bank's images are of."""

    teacher: str  # SHA-256 of it
    # How many views of each image they are of. 0 for the image as it is.
    views: int
    augment: str  # what the views are drawn by; '' for none
    # What else of the teacher is kept, by layers with their shapes, and how
    # many numbers of a view that is.
    maps: str = ''
    map_size: int = 0


class Manifest(NamedTuple):
    """What the manifest of a bank says."""

    image_shape: List[int]
    num_classes: int
    shards: List[Shard]
    states: Dict[str, str]  # SHA-256 of what else is in the folder, by name
    classes: List[str]  # names in the order of the labels; empty if unknown
    target_kind: Optional[TargetKind]  # None for a bank without targets
    targets: Dict[str, str]  # SHA-256 of shards' targets, by the shard's name
    held_out: Optional[HeldOut] = None  # from training; None for no image
    # Of what the first rounds were made from, by name; None if unknown.
    made_from: Optional[Dict[str, str]] = None
    # SHA-256 of the list of pictures that it started with; '' if of none.
    pictures: str = ''
    dropped: int = 0  # images that were older than the first shard


class LogPart(NamedTuple):
    """What of a log counts."""

    name: str
    length: int
    sha256: str


MANIFEST = 'manifest.json'
# Six digits, or more without zeros before them.
NUMBER = '(?:[0-9]{6}|[1-9][0-9]{6,8})'
# Images in a common format are named after it.
_SHARD_NAME = re.compile(rf'{NUMBER}(?:\.(png|jpeg|webp))?\.npy')
_STATE_NAME = re.compile(rf'state_{NUMBER}_{NUMBER}\.pth')
_LOG_NAME = re.compile(r'log_[0-9]{6}\.jsonl')
_SHA256 = re.compile(r'[0-9a-f]{64}')
# What images are made from before the first checkpoint, and the first epoch
# whose images are: images that are imported follow from init_bank alone.
ORIGINS = dict(
    seed=INITIAL,
    init_iters=INITIAL,
    synthesizer=INITIAL,
    teachers=INITIAL,
    architecture=0,
    student=0,
    init_rounds=0,
    init_bank=IMPORTED,
)
_SHORT_SHA256 = re.compile(r'[0-9a-f]{16}')
_MOST_SHARDS = 10**9  # as many as there are names
_MOST_DROPPED = 10**15
MOST_BYTES = 2**31 - 1  # of a record, for NumPy
# Numbers that a view is drawn by, in a byte each; views of an image at most.
DRAWS, MOST_VIEWS = 3, 1000


class ManifestFile:
    """The manifest of a folder and its log, as one process writes them.

    Args:
        folder (Path): Of the bank.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._part: Optional[LogPart] = None  # None for a log to be started
        # Of what counts of it; None where it has to be read for that.
        self._digest: Any = None
        self._lines: List[str] = []  # not written yet

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self.__dict__, _digest=None)

    @property
    def log_name(self) -> str:
        """Of the log that counts; empty if none does."""
        return self._part.name if self._part else ''

    def read(self) -> Manifest:
        """What the manifest and its log say.

        Raises:
            ValueError: If it is not what a bank can have; says what is wrong.
        """
        content = self._content(MANIFEST)
        while True:
            try:
                return self._parse(content)
            except (ValueError, FileNotFoundError):
                # A run that goes on may have begun another log by now.
                newer = self._content(MANIFEST)
                if newer == content:
                    raise
                content = newer

    def _parse(self, content: bytes) -> Manifest:
        """What these bytes of a manifest and their log say."""
        found = parse_json(content.decode())
        self._part, log = None, b''
        if isinstance(found, dict) and found.get('version') != 1:
            self._part = _parse_part(found)
            log = self._content(self._part.name, self._part.length)
            self._digest = digest = hashlib.sha256(log)
            if (
                len(log) != self._part.length
                or digest.hexdigest() != self._part.sha256
            ):
                raise ValueError(
                    f'its log {self._part.name} was cut short or altered'
                )
            found = _join(found, _parse_log(log))
        return _parse_manifest(found)

    def _content(self, name: str, size: int = -1) -> bytes:
        if own_file(self.folder, name) is None:
            raise ValueError(
                f'{name} is no file, or a link that leads elsewhere'
            )
        with open(self.folder / name, 'rb') as file:
            return file.read(size)

    def add(self, entry: Dict[str, Any]) -> None:
        """Note a line for the log, which :meth:`write` writes."""
        self._lines.append(json.dumps(entry) + '\n')

    def write(self, manifest: Manifest, anew: bool = False) -> None:
        """Write what was added since, and then the manifest.

        Args:
            manifest (Manifest): What to write.
            anew (bool): Whether more than :meth:`add` was told has changed,
                so that the log is written again. Defaults to False.
        """
        part, outdated = self._part, None
        if part is not None and self._lines and not anew:
            # A copy of the folder by hard links has the very same file.
            anew = os.stat(self.folder / part.name).st_nlink > 1
        if part is None or anew:
            number = int(part.name[4:10]) + 1 if part else 0
            outdated = part
            lines = [json.dumps(shard.entry()) for shard in manifest.shards]
            lines += [
                json.dumps(dict(targets=name, sha256=checksum))
                for name, checksum in manifest.targets.items()
            ]
            log = ''.join(f'{line}\n' for line in lines).encode()
            digest = hashlib.sha256(log)
            part = LogPart(f'log_{number % 10**6:06d}.jsonl', len(log), '')
            write_file(self.folder / part.name, log)
        else:
            if self._digest is None:
                log = self._content(part.name, part.length)
                self._digest = hashlib.sha256(log)
            digest = self._digest.copy()
            log = ''.join(self._lines).encode()
            digest.update(log)
            if log:
                _append(self.folder / part.name, part.length, log)
            part = part._replace(length=part.length + len(log))
        part = part._replace(sha256=digest.hexdigest())
        content: Dict[str, Any] = dict(
            version=2,
            image_shape=manifest.image_shape,
            num_classes=manifest.num_classes,
            log=part._asdict(),
        )
        if manifest.states:
            content['states'] = manifest.states
        if manifest.classes:
            content['classes'] = manifest.classes
        if manifest.target_kind is not None:
            content['targets'] = manifest.target_kind._asdict()
        if manifest.held_out is not None:
            content['held_out'] = manifest.held_out._asdict()
        if manifest.made_from is not None:
            content['made_from'] = manifest.made_from
        if manifest.pictures:
            content['pictures'] = manifest.pictures
        if manifest.dropped:
            content['dropped'] = manifest.dropped
        text = json.dumps(content, indent=1)
        write_file(self.folder / MANIFEST, text.encode())
        self._part, self._digest, self._lines = part, digest, []
        if outdated is not None:
            (self.folder / outdated.name).unlink(missing_ok=True)


def is_own_name(name: str) -> bool:
    """Whether a file is called as a bank's shards, targets and logs are."""
    shard = name.replace('.targets.npy', '.npy')
    return bool(_SHARD_NAME.fullmatch(shard) or _LOG_NAME.fullmatch(name))


def _append(path: Path, start: int, content: bytes) -> None:
    """Write at the end of what counts of a log, over what does not."""
    try:
        with open(path, 'r+b') as file:
            file.truncate(start)
            file.seek(start)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno, f'{error.strerror}; not written', str(path)
        ) from error


def _parse_part(found: Dict[str, Any]) -> LogPart:
    """What of its log a manifest counts."""
    _integer('version', found.get('version'), 1, 2)
    entry = found.get('log')
    fields = entry if isinstance(entry, dict) else {}
    _check(set(fields) == set(LogPart._fields), 'the log', entry)
    part = LogPart(**fields)
    _text('log name', part.name, _LOG_NAME)
    _integer('bytes of the log', part.length, 0, MOST_BYTES)
    _text('sha256', part.sha256, _SHA256)
    return part


def _parse_log(log: bytes) -> Tuple[List[object], Dict[object, object]]:
    """Shards, and checksums of their targets by the shard's name."""
    text = ','.join(log.decode().splitlines())
    shards: List[object] = []
    files: Dict[object, object] = {}
    for entry in parse_json(f'[{text}]'):
        if isinstance(entry, dict) and 'targets' in entry:
            _check(set(entry) == {'targets', 'sha256'}, 'targets', entry)
            _text('shard of targets', entry['targets'], _SHARD_NAME)
            files[entry['targets']] = entry['sha256']
        else:
            shards.append(entry)
    return shards, files


def _join(
    found: Dict[str, Any],
    logged: Tuple[List[object], Dict[object, object]],
) -> Dict[str, Any]:
    """A manifest with what its log says, as earlier releases wrote it."""
    shards, files = logged
    _check('shards' not in found, 'the keys', list(found))
    joined = dict(found, version=1, shards=shards)
    del joined['log']
    kind = found.get('targets')
    if isinstance(kind, dict):
        _check('files' not in kind, 'targets', kind)
        joined['targets'] = dict(kind, files=files)
    else:
        _check(not files, 'targets of no kind', kind)
    return joined


def _parse_manifest(found: Any) -> Manifest:
    """Take from a manifest nothing but what a bank can have."""
    keys = {'version', 'image_shape', 'num_classes', 'shards'}
    _check(isinstance(found, dict), 'what it holds', found)
    known = {'states', 'classes', 'targets', 'held_out', 'made_from'}
    known.add('pictures')
    known |= keys | {'dropped'}
    _check(keys <= set(found) <= known, 'the keys', list(found))
    _integer('dropped', found.get('dropped', 0), 0, _MOST_DROPPED)
    _integer('version', found['version'], 1, 1)
    shape = found['image_shape']
    _check(isinstance(shape, list) and len(shape) == 3, 'image_shape', shape)
    for size in shape:
        _integer('image_shape', size, 1, MOST_BYTES)
    _check(math.prod(shape) <= MOST_BYTES - 8, 'image_shape', shape)
    _integer('num_classes', found['num_classes'], 1, MOST_BYTES)
    _check(isinstance(found['shards'], list), 'shards', found['shards'])
    shards = [parse_shard(entry) for entry in found['shards']]
    last, rounds = -1, set()
    for shard in shards:
        # Each has a later name, for a round that no other has.
        _check(shard.number > last, f'shard name after {last}', shard.name)
        made_for = (shard.epoch, shard.index)
        _check(
            made_for not in rounds, 'second shard of (epoch, index)', made_for
        )
        last = shard.number
        rounds.add(made_for)
    states = found.get('states', {})
    _check(isinstance(states, dict), 'states', states)
    for name, checksum in states.items():
        _text('state name', name, _STATE_NAME)
        _text('sha256', checksum, _SHA256)
    classes = found.get('classes', [])
    _check(isinstance(classes, list), 'classes', classes)
    for name in classes:
        _check(isinstance(name, str), 'class name', name)
    count = len(classes)
    _check(count in (0, found['num_classes']), 'number of class names', count)
    if 'pictures' in found:
        _text('sha256', found['pictures'], _SHA256)
    kind: Optional[TargetKind] = None
    targets: Dict[str, str] = {}
    if 'targets' in found:
        names = {shard.name for shard in shards}
        kind, targets = _parse_targets(found['targets'], names)
        numbers = found['num_classes'] + kind.map_size
        size = max(kind.views, 1) * (2 * numbers + DRAWS)
        _check(size <= MOST_BYTES, 'views', kind.views)
    return Manifest(
        shape,
        found['num_classes'],
        shards,
        states,
        classes,
        kind,
        targets,
        _parse_held_out(found['held_out']) if 'held_out' in found else None,
        _parse_origins(found['made_from']) if 'made_from' in found else None,
        found.get('pictures', ''),
        found.get('dropped', 0),
    )


def _parse_origins(entry: object) -> Dict[str, str]:
    fields = dict(entry) if isinstance(entry, dict) else {}
    # Older manifests have fewer.
    _check(set() < set(fields) <= set(ORIGINS), 'made_from', entry)
    for name, checksum in fields.items():
        _text(name, checksum, _SHORT_SHA256)
    return fields


def _parse_held_out(entry: object) -> HeldOut:
    fields = entry if isinstance(entry, dict) else {}
    _check(set(fields) == set(HeldOut._fields), 'held_out', entry)
    held_out = HeldOut(**fields)
    share = held_out.share
    _check(type(share) is float and 0 < share < 1, 'share', share)
    _integer('group', held_out.group, 0, MOST_BYTES)
    return held_out


def _parse_targets(
    entry: object, shards: Set[str]
) -> Tuple[TargetKind, Dict[str, str]]:
    fields = dict(entry) if isinstance(entry, dict) else {}
    # Older manifests have none.
    fields = {'maps': '', 'map_size': 0, **fields}
    _check(set(fields) == {*TargetKind._fields, 'files'}, 'targets', entry)
    files = fields.pop('files')
    kind = TargetKind(**fields)
    _text('sha256', kind.teacher, _SHA256)
    _integer('views', kind.views, 0, MOST_VIEWS)
    _check(isinstance(kind.augment, str), 'augment', kind.augment)
    _check(isinstance(kind.maps, str), 'maps', kind.maps)
    _integer('map_size', kind.map_size, 0, MOST_BYTES)
    _check(isinstance(files, dict), 'files of targets', files)
    for name, checksum in files.items():
        _check(name in shards, 'shard of targets', name)
        _text('sha256', checksum, _SHA256)
    return kind, files


def parse_shard(entry: object) -> Shard:
    """Take from an entry of a shard nothing but what a bank can have.

    Raises:
        ValueError: If it is something else; says what is wrong.
    """
    fields = dict(entry) if isinstance(entry, dict) else {}
    if 'held_out' in fields:
        fields['held_out'] = _parse_held_out(fields['held_out'])
    known = {*fields, 'held_out', 'real'}
    _check(known == set(Shard._fields), 'a shard', entry)
    _check(fields.get('real', True) is True, 'real', entry)
    shard = Shard(**fields)
    # Names are not to lead out of the folder.
    _text('shard name', shard.name, _SHARD_NAME)
    _text('sha256', shard.sha256, _SHA256)
    _integer('count', shard.count, 1, MOST_BYTES)
    _integer('epoch', shard.epoch, IMPORTED, _MOST_SHARDS - 1)
    _integer('index', shard.index, 0, _MOST_SHARDS - 1)
    return shard


def _check(is_right: bool, name: str, value: object) -> None:
    if not is_right:
        raise ValueError(f'{name} {value!r:.200}')


def _integer(name: str, value: object, low: int, high: int) -> None:
    _check(type(value) is int and low <= value <= high, name, value)


def _text(name: str, value: object, pattern: 're.Pattern[str]') -> None:
    is_right = isinstance(value, str) and bool(pattern.fullmatch(value))
    _check(is_right, name, value)
