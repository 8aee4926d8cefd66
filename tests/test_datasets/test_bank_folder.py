# Copyright (c) csd_mmrazor developers. All rights reserved.
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

from csd_mmrazor.datasets import BankError, BankFolder, ImageBank
from csd_mmrazor.datasets.bank_folder import (
    INITIAL,
    TargetKind,
    _all_finite,
    _as_file,
)

SHAPE = (3, 4, 4)


def batch(num=5, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (num, *SHAPE), np.uint8),
        rng.integers(0, 10, num),
    )


def as_before(folder):
    """Give a bank the one manifest file that earlier releases wrote."""
    content = dict(
        version=1,
        image_shape=folder.image_shape,
        num_classes=folder.num_classes,
        shards=[shard.entry() for shard in folder.shards],
    )
    if folder.target_kind is not None:
        kind = folder.target_kind._asdict()
        content['targets'] = dict(kind, files=folder.targets)
    (folder.path / 'manifest.json').write_text(json.dumps(content, indent=1))
    for log in folder.path.glob('log_*.jsonl'):
        log.unlink()
    return BankFolder(folder.path)


@pytest.fixture
def folder(tmp_path):
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10)
    for index in range(3):
        folder.append(*batch(seed=index), INITIAL, index, write=True)
    folder.append(*batch(7, seed=3), 0, 0, write=True)
    return folder


def test_what_is_written_is_read(folder):
    again = BankFolder(folder.path)
    assert again.shards == folder.shards
    assert again.image_shape == SHAPE and again.num_classes == 10
    assert len(again) == 22
    for seed, shard in enumerate(again.shards):
        images, labels = again.read(shard)
        expected = batch(shard.count, seed)
        assert np.array_equal(images, expected[0])
        assert np.array_equal(labels, expected[1])
    assert again.has(0, 0) and again.has(INITIAL, 2)
    assert not again.has(0, 1) and not again.has(INITIAL, 3)
    assert again.digest() == folder.digest()


def test_files_are_those_of_numpy():
    images, labels = batch()
    dtype = np.dtype([('label', '<i8'), ('image', 'u1', SHAPE)])
    records = np.empty(len(images), dtype)
    records['label'], records['image'] = labels, images
    buffer = io.BytesIO()
    np.save(buffer, records)
    found = _as_file(dict(label=labels, image=images), dtype)
    assert bytes(found) == buffer.getvalue()


@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_what_is_finite(dtype):
    """Every 101st number of 16 bits, and those around infinity."""
    with np.errstate(over='ignore'):
        numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
        numbers = numbers.astype(dtype)
    for number in [*numbers[::101], *numbers[0x7BFF:0x7C03], *numbers[-1025:]]:
        values = np.array([[-1, number], [2, 0]], dtype)
        assert _all_finite(values) == np.isfinite(number)
    assert _all_finite(numbers[:0])


def test_nothing_else_is_left_in_the_folder(folder):
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        'manifest.json',
        'log_000000.jsonl',
        *(s.name for s in folder.shards),
    }


def test_a_process_that_does_not_write_takes_note(folder, tmp_path):
    other = BankFolder(tmp_path / 'none', SHAPE, 10)
    for index in range(3):
        other.append(*batch(seed=index), INITIAL, index, write=False)
    other.append(*batch(7, seed=3), 0, 0, write=False)
    assert other.shards == folder.shards
    assert not other.path.exists()


def test_keep(folder):
    names = [s.name for s in folder.shards]
    folder.keep([s for s in folder.shards if s.epoch == INITIAL], write=True)
    assert not (folder.path / names[-1]).exists()
    assert BankFolder(folder.path).shards == folder.shards
    # The next one takes no name of those that are kept.
    folder.append(*batch(), 0, 0, write=True)
    assert len({s.name for s in folder.shards}) == 4


def test_classes_have_names(tmp_path):
    names = ['a', 'b', 'größe', '']
    folder = BankFolder(tmp_path, (1, 2, 2), 4, names)
    folder.append(
        np.zeros((2, 1, 2, 2), np.uint8), np.arange(2), 0, 0, write=True
    )
    assert BankFolder(tmp_path).classes == names
    assert BankFolder(tmp_path, (1, 2, 2), 4, names).classes == names
    with pytest.raises(BankError, match="Class 1 of .* is 'b', but 'c' here"):
        BankFolder(tmp_path, (1, 2, 2), 4, ['a', 'c', 'b', ''])


@pytest.mark.parametrize('classes', [['a'], [1, 2], 'ab', {'a': 1}])
def test_names_that_are_none(tmp_path, classes):
    content = dict(
        version=1,
        image_shape=[1, 2, 2],
        num_classes=2,
        shards=[],
        classes=classes,
    )
    (tmp_path / 'manifest.json').write_text(json.dumps(content))
    (tmp_path / 'log_000000.jsonl').touch()
    with pytest.raises(BankError, match='cannot be used .*class'):
        BankFolder(tmp_path)


def test_killed_between_shard_and_manifest(folder, monkeypatch):
    def fail(self, anew=False):
        raise KeyboardInterrupt

    monkeypatch.setattr(BankFolder, 'write_manifest', fail)
    with pytest.raises(KeyboardInterrupt):
        folder.append(*batch(), 0, 1, write=True)
    monkeypatch.undo()
    again = BankFolder(folder.path)
    assert len(again.shards) == 4 and not again.has(0, 1)
    again.append(*batch(), 0, 1, write=True)
    assert [s.epoch for s in BankFolder(folder.path).shards][-1] == 0


def test_killed_while_writing(tmp_path):
    """A writer is killed at random; what the manifest names is whole."""
    code = (
        f'import sys; sys.path[:0] = [{str(ROOT)!r}]\n'
        'import importlib.util, types\n'
        'import numpy as np\n'
        # Only these two modules, without the seconds that torch takes.
        'for name in ("csd_mmrazor", "csd_mmrazor.utils",'
        ' "csd_mmrazor.datasets"):\n'
        '    sys.modules[name] = types.ModuleType(name)\n'
        '    sys.modules[name].__path__ = [sys.path[0] + "/" +'
        ' name.replace(".", "/")]\n'
        'from csd_mmrazor.utils.files import write_file\n'
        'sys.modules["csd_mmrazor.utils"].write_file = write_file\n'
        'from csd_mmrazor.datasets.bank_folder import BankFolder\n'
        f'folder = BankFolder({str(tmp_path / "bank")!r}, (3, 32, 32), 10)\n'
        'rng = np.random.default_rng(0)\n'
        'for i in range(10000):\n'
        '    folder.append(rng.integers(0, 256, (50, 3, 32, 32), np.uint8),'
        ' rng.integers(0, 10, 50), 0, len(folder.shards), True)\n'
        # However slow the machine is, there is one more.
        '    print("ready" * (i == 0), end="\\n" * (i == 0), flush=True)\n'
    )
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, '-c', code], stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b'ready\n'
        try:
            writer.wait(rng.uniform(0.05, 0.5))
        except subprocess.TimeoutExpired:
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        assert writer.returncode == -signal.SIGKILL
        folder = BankFolder(tmp_path / 'bank', (3, 32, 32), 10)
        for shard in folder.shards:
            folder.read(shard)
        assert len(folder.shards) > kept
        kept = len(folder.shards)


def spoil_cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def spoil_altered(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def spoil_lost(path):
    path.unlink()


@pytest.mark.parametrize(
    'spoil, message',
    [
        (spoil_cut, 'cut short or altered'),
        (spoil_altered, 'cut short or altered'),
        (spoil_lost, 'is lost'),
    ],
)
def test_damaged_shards_are_found(folder, spoil, message):
    spoil(folder.path / '000001.npy')
    again = BankFolder(folder.path)
    again.read(again.shards[0])
    with pytest.raises(BankError, match=f'000001.npy .*{message}.*Restore'):
        again.read(again.shards[1])


@pytest.mark.parametrize(
    'name', ['../../secret.npy', '/etc/passwd', '000000.npy/../x', 'a.npy']
)
def test_shard_names_cannot_leave_the_folder(folder, name):
    as_before(folder)
    path = folder.path / 'manifest.json'
    manifest = json.loads(path.read_text())
    manifest['shards'][0]['name'] = name
    path.write_text(json.dumps(manifest))
    with pytest.raises(BankError, match='shard name'):
        BankFolder(folder.path)


@pytest.mark.parametrize('content', ['', '{', '[]', '{"version": 9}', '\x00'])
def test_damaged_manifests_are_found(folder, tmp_path, content):
    (folder.path / 'manifest.json').write_text(content)
    message = r'manifest.json, cannot be used .* or choose another bank\. Only'
    with pytest.raises(BankError, match=message):
        BankFolder(folder.path)
    # Beside pictures it is another's, and nothing is to be deleted.
    pictures = tmp_path / 'pictures'
    (pictures / 'cat').mkdir(parents=True)
    (pictures / 'manifest.json').write_text(content)
    message = 'is not the manifest of an image bank.* move that file elsewhere'
    with pytest.raises(BankError, match=message) as told:
        ImageBank(data_root=str(pictures))
    assert 'delete' not in str(told.value)


def crafted(change):
    """A manifest that differs from a right one in one place."""

    def content(right):
        manifest = json.loads(right)
        result = change(manifest, manifest['shards'])
        return json.dumps(manifest if result is None else result)

    return content


TARGETS = dict(teacher='0' * 64, views=0, augment='', files={})


def entry(**values):
    return crafted(lambda manifest, shards: shards[1].update(values))


def top(**values):
    return crafted(lambda manifest, shards: manifest.update(values))


@pytest.mark.parametrize(
    'change, message',
    [
        (crafted(lambda m, s: s.append(s[0])), 'shard name after'),
        (crafted(lambda m, s: s.reverse()), 'shard name after'),
        (crafted(lambda m, s: s.append(dict(s[0], name='000009.npy'))), 'sec'),
        (crafted(lambda m, s: s[0].__delitem__('epoch')), 'a shard'),
        (crafted(lambda m, s: s[0].update(more=1)), 'a shard'),
        (crafted(lambda m, s: s.append(None)), 'a shard'),
        (crafted(lambda m, s: s.append('000009.npy')), 'a shard'),
        (crafted(lambda m, s: m.__delitem__('num_classes')), 'the keys'),
        (crafted(lambda m, s: [m]), 'what it holds'),
        (crafted(lambda m, s: 7), 'what it holds'),
        (top(extra=1), 'the keys'),
        (top(version=True), 'version True'),
        (top(version=3), 'version 3'),
        (top(version=2), 'the log None'),
        (top(version='1'), 'version'),
        (top(shards={}), 'shards'),
        (top(shards=None), 'shards'),
        (top(image_shape=None), 'image_shape'),
        (top(image_shape=12), 'image_shape'),
        (top(image_shape='344'), 'image_shape'),
        (top(image_shape=[3, 4]), 'image_shape'),
        (top(image_shape=[3, 4, 4, 1]), 'image_shape'),
        (top(image_shape=[3, -4, 4]), 'image_shape -4'),
        (top(image_shape=[3, 0, 4]), 'image_shape 0'),
        (top(image_shape=[3, 4.0, 4]), 'image_shape 4.0'),
        (top(image_shape=[3, True, 4]), 'image_shape True'),
        (top(image_shape=[3, '4', 4]), 'image_shape'),
        (top(image_shape=[3, 10**5, 10**5]), 'image_shape'),
        (top(image_shape=[3, 10**40, 4]), 'image_shape'),
        (top(num_classes=0), 'num_classes 0'),
        (top(num_classes=-3), 'num_classes -3'),
        (top(num_classes='10'), 'num_classes'),
        (top(num_classes=1e999), 'num_classes inf'),
        (top(num_classes=10**30), 'num_classes'),
        (top(states=[]), 'states'),
        (top(states={'../x.pth': '0' * 64}), 'state name'),
        (top(states={'state_000001_000001.pth': 7}), 'sha256 7'),
        (top(targets=None), 'targets None'),
        (top(targets={}), 'targets'),
        (top(targets=dict(TARGETS, more=1)), 'targets'),
        (top(targets=dict(TARGETS, teacher='x')), "sha256 'x'"),
        (top(targets=dict(TARGETS, views=-1)), 'views -1'),
        (top(targets=dict(TARGETS, views=True)), 'views True'),
        (top(targets=dict(TARGETS, views=1e999)), 'views inf'),
        (top(targets=dict(TARGETS, views=1001)), 'views 1001'),
        (top(targets=dict(TARGETS, augment=None)), 'augment None'),
        (top(targets=dict(TARGETS, files=[])), 'files of targets'),
        (
            top(targets=dict(TARGETS, files={'../x.npy': '0' * 64})),
            'shard of targets',
        ),
        (
            top(targets=dict(TARGETS, files={'000009.npy': '0' * 64})),
            'shard of targets',
        ),
        (
            top(targets=dict(TARGETS, files={'000001.npy': '0'})),
            "sha256 '0'",
        ),
        (top(num_classes=10**9, targets=dict(TARGETS, views=9)), 'views 9'),
        (entry(count=0), 'count 0'),
        (entry(count=-5), 'count -5'),
        (entry(count=5.0), 'count 5.0'),
        (entry(count='5'), 'count'),
        (entry(count=10**20), 'count'),
        (entry(count=float('nan')), 'count nan'),
        (entry(epoch=-3), 'epoch -3'),
        (entry(epoch=10**9), 'epoch'),
        (entry(epoch=None), 'epoch None'),
        (entry(epoch=0, index=-1), 'index -1'),
        (entry(index=10**9), 'index'),
        (entry(index=False), 'index False'),
        (entry(sha256=None), 'sha256 None'),
        (entry(sha256='0'), "sha256 '0'"),
        (entry(sha256=['0' * 64]), 'sha256'),
        (entry(name=1), 'shard name 1'),
        (entry(name='../bank/000001.npy'), 'shard name'),
        (entry(name='000001.npy\n'), 'shard name'),
        (entry(name='٠٠٠٠٠١.npy'), 'shard name'),
        (lambda right: '[' * 100_000, 'too deeply'),
        (lambda right: '{"version":' * 100_000, 'too deeply'),
        (lambda right: right[: len(right) // 2], 'delimiter|Expecting|Unterm'),
        (lambda right: '9' * 10_000, ''),
        (
            lambda right: right.replace('"count": 5', '"count": Infinity'),
            'inf',
        ),
        (lambda right: '\ud800', 'utf-8'),
    ],
)
def test_crafted_manifests_are_refused(folder, change, message):
    as_before(folder)
    path = folder.path / 'manifest.json'
    content = change(path.read_text())
    path.write_bytes(content.encode(errors='surrogatepass'))
    with pytest.raises(
        BankError, match=f'{path}, cannot be used .*{message}.*Restore'
    ) as error:
        BankFolder(folder.path)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    'change',
    [
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (
            path.rename(path.parent.parent / 'elsewhere'),
            path.symlink_to(path.parent.parent / 'elsewhere'),
        ),
    ],
    ids=['gone', 'folder', 'pipe', 'link'],
)
def test_shards_are_files_of_the_folder(folder, change):
    change(folder.path / '000001.npy')
    with pytest.raises(BankError, match='000001.npy .* is lost'):
        folder.read(folder.shards[1])


def test_a_manifest_is_a_file_of_the_folder(folder, tmp_path):
    path = folder.path / 'manifest.json'
    path.rename(tmp_path / 'elsewhere')
    path.symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(BankError, match='manifest.json, cannot .* elsewhere'):
        BankFolder(folder.path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BankError, match='manifest.json, cannot .*no file'):
        BankFolder(folder.path)


def craft_shard(folder, content, **values):
    """Put other bytes in the place of a shard, with their checksum."""
    import hashlib

    as_before(folder)
    path = folder.path / 'manifest.json'
    manifest = json.loads(path.read_text())
    manifest['shards'][1].update(
        sha256=hashlib.sha256(content).hexdigest(), **values
    )
    path.write_text(json.dumps(manifest))
    (folder.path / '000001.npy').write_bytes(content)
    return BankFolder(folder.path)


def npy(array):
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    'labels, message',
    [
        ([0, 1, 2, 3, 10], r'labels 0\.\.10, but the bank has classes 0\.\.9'),
        ([0, -1, 2, 3, 9], r'labels -1\.\.9'),
        ([0, 2**62, 2, 3, 9], 'labels 0'),
    ],
)
def test_labels_beyond_the_classes(folder, labels, message):
    records = np.zeros(5, folder.dtype)
    records['label'] = labels
    again = craft_shard(folder, npy(records))
    with pytest.raises(BankError, match=f'000001.npy holds {message}'):
        again.read(again.shards[1])


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\x93NUMPY',
        npy(np.zeros(5)),
        npy(np.zeros((), 'i8')),
        npy(np.zeros((5, 1), np.dtype([('label', '<i8')]))),
        npy(np.zeros(9)).replace(b'(9,)', b'(9,'),
        npy(np.zeros(9)).replace(b'(9,)', b'-9  '),
        npy(np.zeros(10**4)).replace(b'(10000,)', b'(10**9,)'),
        b'PK\x05\x06' + bytes(18),
    ],
    ids=range(9),
)
def test_shards_of_something_else(folder, content):
    again = craft_shard(folder, content)
    with pytest.raises(BankError, match='000001.npy .*Restore'):
        again.read(again.shards[1])


def test_a_huge_file_is_not_read(folder):
    path = folder.path / '000001.npy'
    with open(path, 'r+b') as file:
        file.truncate(2**40)  # takes no room
    with pytest.raises(BankError, match='000001.npy .* altered'):
        folder.read(folder.shards[1])


def test_a_huge_count_takes_no_memory(folder):
    content = (folder.path / '000001.npy').read_bytes()
    craft_shard(folder, content, count=2**30)
    with pytest.raises(BankError, match='000001.npy holds .* a header'):
        ImageBank(str(folder.path), memory_limit=1e6)


def test_pickles_in_shards_are_refused(folder):
    import hashlib
    import io

    class Evil:
        def __reduce__(self):
            return os.system, (f'touch {folder.path}/trace',)

    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], object), allow_pickle=True)
    content = buffer.getvalue()
    shard = folder.shards[0]
    (folder.path / shard.name).write_bytes(content)
    shard = shard._replace(sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(BankError, match='holds something else'):
        folder.read(shard)
    assert not (folder.path / 'trace').exists()


def test_other_kinds_are_refused(folder, tmp_path):
    with pytest.raises(BankError, match=r'image_shape=\[3, 4, 4\], but'):
        BankFolder(folder.path, (1, 4, 4), 10)
    with pytest.raises(BankError, match='num_classes=10, but 100'):
        BankFolder(folder.path, SHAPE, 100)
    with pytest.raises(BankError, match='There is no image bank in'):
        BankFolder(tmp_path / 'nothing')
    images, labels = batch()
    for args, message in (
        ((images[:, :1], labels), 'uint8 images of shape'),
        ((images.astype(np.float32), labels), 'but got float32'),
        ((images, labels[:2]), 'as many labels'),
        ((images, labels + 10), r'labels in 0\.\.9'),
        ((images, labels - 10), r'labels in 0\.\.9'),
        ((images[:0], labels[:0]), 'as many labels'),
    ):
        with pytest.raises(ValueError, match=message):
            folder.append(*args, 1, 0, write=True)
    assert len(BankFolder(folder.path).shards) == 4


def targets_of(count, views, seed=0):
    """Logits, and draws where there are views."""
    rng = np.random.default_rng(seed)
    shape = (count, views, 10) if views else (count, 10)
    found = dict(targets=rng.standard_normal(shape).astype(np.float16))
    if views:
        found['draws'] = rng.integers(0, 9, (count, views, 3), np.uint8)
    return found


def kind_of(views, teacher='a'):
    return TargetKind(teacher * 64, views, 'Crop' if views else '')


@pytest.fixture(params=[0, 1, 3])
def with_targets(folder, request):
    """A folder whose shards all have targets, as they are or of views."""
    views = request.param
    folder.expect_targets(kind_of(views), write=True)
    for seed, shard in enumerate(folder.shards):
        folder.add_targets(shard, targets_of(shard.count, views, seed), True)
    return folder


def test_targets_are_read_as_they_were_written(with_targets):
    views = with_targets.target_kind.views
    extra = targets_of(4, views, 9)
    with_targets.append(*batch(4), 1, 0, write=True, targets=extra)
    again = BankFolder(with_targets.path)
    assert again.target_kind == kind_of(views)
    assert again.without_targets == []
    assert again.digest() == with_targets.digest()
    for seed, shard in enumerate(again.shards):
        found = again.read_targets(shard)
        wanted = targets_of(shard.count, views, 9 if seed == 4 else seed)
        assert found.keys() == wanted.keys()
        for name, value in found.items():
            assert value.dtype == wanted[name].dtype
            assert np.array_equal(value, wanted[name])
    # As large as docs/durability.md says, but for NumPy's header.
    size = (again.path / '000004.targets.npy').stat().st_size
    per_image = views * (2 * 10 + 3) if views else 2 * 10
    assert 0 < size - 4 * per_image <= 256


def test_banks_without_targets_are_as_before(folder):
    assert 'targets' not in (folder.path / 'manifest.json').read_text()
    assert folder.target_kind is None
    assert BankFolder(folder.path).without_targets == folder.shards
    with pytest.raises(BankError, match='4 of 4 shards .* 000000.npy'):
        folder.read_targets(folder.shards[0])


def test_targets_go_with_their_shards(with_targets):
    kept = with_targets.shards[1:3]
    with_targets.keep(kept, write=True)
    names = [s.name for s in kept]
    assert {path.name for path in with_targets.path.iterdir()} == {
        'manifest.json',
        'log_000002.jsonl',  # written again as the kind and these changed
        *names,
        *(name.replace('.npy', '.targets.npy') for name in names),
    }
    assert [*BankFolder(with_targets.path).targets] == names


@pytest.mark.parametrize(
    'kind', [None, kind_of(2), kind_of(0, 'b'), kind_of(1, 'b')]
)
def test_targets_of_another_kind_are_dropped(with_targets, kind):
    with_targets.expect_targets(kind, write=True)
    again = BankFolder(with_targets.path)
    assert again.target_kind == kind
    assert again.without_targets == again.shards
    assert not list(again.path.glob('*.targets.npy'))


def test_some_shards_without_targets(with_targets):
    with_targets.append(*batch(4), 1, 0, write=True)
    again = BankFolder(with_targets.path)
    assert [s.name for s in again.without_targets] == ['000004.npy']
    with pytest.raises(BankError, match='1 of 5 shards .* SynthesisHook'):
        again.read_targets(again.shards[4])


def test_killed_between_targets_and_manifest(with_targets, monkeypatch):
    views, digest = with_targets.target_kind.views, with_targets.digest()

    def fail(self, anew=False):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BankFolder, 'write_manifest', fail)
        with pytest.raises(KeyboardInterrupt):
            targets = targets_of(4, views)
            with_targets.append(*batch(4), 0, 1, True, targets)
        # Nor may targets of another kind be taken for those that were.
        with pytest.raises(KeyboardInterrupt):
            BankFolder(with_targets.path).expect_targets(kind_of(2), True)
    again = BankFolder(with_targets.path)
    assert again.digest() == digest
    for shard in again.shards:
        again.read_targets(shard)
    again.append(*batch(4), 0, 1, True, targets_of(4, views, 1))
    assert len(BankFolder(again.path).targets) == 5


@pytest.mark.parametrize(
    'spoil, message',
    [
        (spoil_cut, 'cut short or altered'),
        (spoil_altered, 'cut short or altered'),
        (spoil_lost, 'is lost'),
    ],
)
def test_damaged_targets_are_found(with_targets, spoil, message):
    spoil(with_targets.path / '000001.targets.npy')
    again = BankFolder(with_targets.path)
    again.read_targets(again.shards[0])
    with pytest.raises(
        BankError, match=f'000001.targets.npy .*{message}.*Restore'
    ):
        again.read_targets(again.shards[1])


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda t: dict(t, targets=t['targets'][:3]), 'have the shapes'),
        (lambda t: dict(t, targets=t['targets'][..., :9]), 'have the shapes'),
        (lambda t: dict(t, more=t['targets']), 'have the shapes'),
        (lambda t: {}, 'have the shapes'),
        (lambda t: dict(t, targets=t['targets'] * np.nan), 'NaN or Inf'),
        (lambda t: dict(t, targets=t['targets'] / np.float16(0)), 'NaN or'),
    ],
)
@pytest.mark.filterwarnings('ignore:divide by zero')
def test_targets_that_are_none(with_targets, change, message):
    wrong = change(targets_of(5, with_targets.target_kind.views))
    before = with_targets.digest()
    with pytest.raises(ValueError, match=message):
        with_targets.append(*batch(5), 1, 0, write=True, targets=wrong)
    assert BankFolder(with_targets.path).digest() == before
