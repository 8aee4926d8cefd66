# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.datasets import BankFolder


@pytest.fixture
def checked(monkeypatch):
    """Names of the files that are compared with their checksums."""
    names, check = [], BankFolder.check

    def noting(self, *which):
        names.append(self.file_of(*which).path.name)
        return check(self, *which)

    monkeypatch.setattr(BankFolder, 'check', noting)

    def take():
        found = sorted(names)
        names.clear()
        return found

    return take
