# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging

from csd_mmrazor.engine.quiet_runner import _is_shown


def test_what_mmengine_says_of_itself_is_not_shown():
    text = '"HardDiskBackend" is the alias of "LocalBackend" and the former'
    assert not _is_shown(logging.makeLogRecord(dict(msg=text)))
    assert _is_shown(logging.makeLogRecord(dict(msg='The student is in')))
