# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import os
import shutil

import pytest
import torch
from helpers import Stop, build, network
from mmengine.config import Config

from csd_mmrazor.export import check_free, export_student, student
from csd_mmrazor.utils import files


def test_nothing_but_an_export_is_overwritten(tmp_path):
    checkpoint, source = tmp_path / 'epoch_1.pth', tmp_path / 'resnet.py'
    checkpoint.touch()
    source.touch()
    for out, path in (
        (checkpoint, checkpoint),
        (tmp_path / 'resnet.pth', source),
    ):
        with pytest.raises(ValueError, match='would be overwr') as error:
            check_free(str(out))
        assert str(path) in str(error.value)
    cfg = Config(dict(model=dict(architecture=network())))
    torch.save(build(network()).state_dict(), tmp_path / 'weights.pth')
    out = tmp_path / 'out.pth'
    check_free(str(out))
    export_student(cfg, tmp_path / 'weights.pth', out)
    check_free(str(out))
    # What is asked for besides may be of others, or of an earlier export.
    mine = tmp_path / 'mine.onnx'
    check_free(str(out), str(mine))
    mine.touch()
    with pytest.raises(ValueError, match='mine.onnx is there, and is no'):
        check_free(str(out), None, str(mine))
    told = json.loads((tmp_path / 'out.json').read_text())
    told.update(onnx=dict(file='mine.onnx'))
    (tmp_path / 'out.json').write_text(json.dumps(told))
    check_free(str(out), str(mine))


@pytest.mark.parametrize(
    'key, suffix', [('onnx', '.onnx'), ('program', '.pt2')]
)
def test_nothing_of_others_elsewhere_is_overwritten(key, suffix, tmp_path):
    """It may have the name of one that an export wrote into its folder."""
    cfg = Config(
        dict(model=dict(architecture=network(), image_shape=(1, 8, 8)))
    )
    weights, out = tmp_path / 'weights.pth', tmp_path / 'out.pth'
    torch.save(build(network()).state_dict(), weights)
    (tmp_path / 'deploy').mkdir()
    own = tmp_path / f'deploy/net{suffix}'
    export_student(cfg, weights, out, **{key: own})
    for path in (own, tmp_path / f'net{suffix}'):
        check_free(str(out), str(path))
    own.write_text('of others')
    with pytest.raises(ValueError, match=f'net{suffix} is there, and is no'):
        check_free(str(out), str(own))


@pytest.fixture
def two(tmp_path):
    """A call that exports one of two students to the same name."""

    def export(which, **more):
        torch.manual_seed(which)
        path = tmp_path / f'epoch_{which}.pth'
        torch.save(build(network()).state_dict(), path)
        return export_student(
            Config(
                dict(model=dict(architecture=network(), image_shape=(1, 8, 8)))
            ),
            *(path, tmp_path / 'out/out.pth'),
            **more,
        )

    return export


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk_leaves_the_earlier_export(two, tmp_path, monkeypatch):
    out = two(1).weights
    card = out.with_suffix('.md')
    before = content(out.parent)
    write_file, written, most = files.write_file, [], [0]

    def full(path, content):
        if len(written) == most[0]:
            raise OSError(28, 'full', str(path))
        written.append(path)
        write_file(path, content)

    monkeypatch.setattr(files, 'write_file', full)
    for most[0] in range(8):
        written.clear()
        with pytest.raises(OSError, match='full') as error:
            two(2)
        assert not error.value.filename.endswith('.tmp')
        assert content(out.parent) == before
    most[0] = None
    written.clear()
    two(2)
    assert len(written) == 8 + 2  # which tell of what came last
    assert b'epoch_2' in card.with_suffix('.json').read_bytes()


def test_killed_it_tells_of_no_other_weights(two, tmp_path, monkeypatch):
    out = two(1).weights
    folder, copy = out.parent, tmp_path / 'copy'
    shutil.copytree(folder, copy)
    old = content(folder)
    two(2)
    new = content(folder)
    assert all(new[n] != old[n] for n in ('out.pth', 'out.json'))
    replace, renamed, most = os.replace, [], [0]

    def kill(source, target):
        if not str(target).endswith('.tmp'):
            if len(renamed) == most[0]:
                raise Stop
            renamed.append(target)
        replace(source, target)

    monkeypatch.setattr(files.os, 'replace', kill)
    for most[0] in range(8):
        renamed.clear()
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        with pytest.raises(Stop):
            two(2)
        found = content(folder)
        names = {n for n in old if n.endswith(('.pth', '.safetensors'))}
        for state in (old, new):
            if found['out.json'] == state['out.json']:
                assert all(found[n] == state[n] for n in names)
        if found['out.json'] not in (old['out.json'], new['out.json']):
            is_first = most[0] == 1
            assert is_first or b'being replaced' in found['out.md']
        check_free(str(out))
    monkeypatch.undo()
    two(2)
    assert content(folder) == new


def test_killed_it_knows_its_other_files(two, tmp_path, monkeypatch):
    onnx = tmp_path / 'out/net.onnx'
    out = two(1, onnx=onnx).weights

    def kill(*_):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(student, 'export_onnx', kill)
        with pytest.raises(Stop):
            two(2, onnx=onnx)
    told = json.loads(out.with_suffix('.json').read_text())
    assert told['checkpoint'] == 'epoch_2.pth' and 'onnx' not in told
    check_free(str(out), str(onnx))
    # As it does after an export without it.
    two(2)
    check_free(str(out), str(onnx))
    two(2, onnx=onnx)
    told = json.loads(out.with_suffix('.json').read_text())
    assert told['onnx']['file'] == 'net.onnx' and 'earlier' not in told
