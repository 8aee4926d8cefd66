# Copyright (c) csd_mmrazor developers. All rights reserved.
import codecs
import errno
import locale
import os
import subprocess
import sys
from typing import Any

import torch.distributed


def speak_utf8() -> None:
    """Start this program again in UTF-8 where the locale has another.

    Configs are in UTF-8, and what they say goes into paths, logs and JSON
    files, which libraries open with the locale's encoding.
    """
    used = sys.getfilesystemencoding(), locale.getpreferredencoding(False)
    is_utf8 = {codecs.lookup(name).name for name in used} == {'utf-8'}
    if not is_utf8 and os.environ.get('PYTHONUTF8') != '1':
        os.environ.update(PYTHONUTF8='1', PYTHONIOENCODING='utf-8')
        flags = subprocess._args_from_interpreter_flags()
        # What the commands call the program is no file.
        program = sys.argv[:1]
        if program[0].startswith('python -m '):
            program = program[0].split()[1:]
        arguments = [*flags, '-X', 'utf8', *program, *sys.argv[1:]]
        os.execv(sys.executable, [sys.executable, *arguments])
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:  # was closed
            setattr(sys, name, open(os.devnull, 'w'))  # noqa: SIM115
        stream = getattr(sys, name)
        # By lines, for a pipe, too: the last ones are not left to the end.
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace', line_buffering=True)
    sys.stdout = _Lasting(sys.stdout)


class _Lasting:
    """An output whose reader may stop, as ``head`` does: the work goes on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what is read, and drop what is not."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        """As of files."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Lead the rest, which is flushed once more at the end, nowhere."""
        # A terminal that was closed is an error of input and output.
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def leave_together() -> None:
    """Part from the other processes at the end of a job, if there are any.

    MMEngine leaves that to the end of each process. There gloo now and then
    aborts one when the others are gone (SIGABRT), so a job that is done
    fails.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
