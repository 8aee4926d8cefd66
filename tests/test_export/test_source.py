# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.export import find_checkpoint, find_config


@pytest.mark.parametrize(
    'files, source, message',
    [
        ([], 'gone.pth', 'gone.pth is no checkpoint, nor a folder'),
        ([], '.', 'no checkpoint, nor a folder with one .best_'),
    ],
)
def test_nothing_to_export(tmp_path, monkeypatch, files, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=message):
        find_checkpoint(source)


def test_which_checkpoint_and_config(tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/moved/away/epoch_2.pth')
    assert find_checkpoint(tmp_path).name == 'epoch_2.pth'
    (tmp_path / 'best_accuracy_top1_epoch_1.pth').touch()
    assert find_checkpoint(tmp_path).name == 'best_accuracy_top1_epoch_1.pth'
    assert find_checkpoint(tmp_path / 'epoch_2.pth').name == 'epoch_2.pth'
    with pytest.raises(FileNotFoundError, match='--config CONFIG.py'):
        find_config(tmp_path / 'epoch_2.pth')
    (tmp_path / 'config.py').touch()
    assert find_config(tmp_path / 'epoch_2.pth').name == 'config.py'
