# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Runs the tools in forks of a process that has imported everything.

Starting Python with torch, mmpretrain and mmrazor takes 10 seconds. The tests
that need dozens of real processes, to kill them or to see how they exit, get
forks of this one instead, which take none. It reads one JSON request a line
and answers with one:

    {"argv": [...], "cwd": "...", "out": "FILE", "envs": [{...}, ...],
     "kill_after": SECONDS or null, "kill": [ranks], "timeout": SECONDS,
     "setup": "PYTHON", "tool": "train.py",
     "module": "NAME"}

One process is forked for each of ``envs``; what they print goes to the files
``out`` and ``out``.err.
The answer has their exit statuses (minus the signal, if one ended them) and
the seconds they took. With "tool": "launch.py", which is torchrun, a "setup"
that begins with ``fork_workers()`` has its processes be forks as well.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
TRAIN = str(ROOT / 'tools/train.py')


def child(request, env):
    """Be one process of a run; never returns."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, suffix in ((1, ''), (2, '.err')):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            os.dup2(os.open(request['out'] + suffix, flags), number)
        os.chdir(request['cwd'])
        os.environ.update(env)
        tool = str(Path(TRAIN).with_name(request.get('tool', 'train.py')))
        sys.argv = [tool, *request['argv']]
        if request.get('module'):
            sys.argv = [request['module'], *request['argv']]
        exec(request.get('setup') or '', dict(globals()))
        if request.get('module'):
            sys.path.insert(0, os.getcwd())  # as python -m does
            code = end_of(runpy.run_module, request['module'])
        else:
            code = end_of(runpy.run_path, tool)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end_of(run, what):
    """Run a script or module; the status that its process would end with."""
    code = 1
    try:
        run(what, run_name='__main__')
        code = 0
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
        code = {None: 0}.get(code, code if isinstance(code, int) else 1)
    except BaseException:
        traceback.print_exc()
    return code


class _Fork(subprocess.Popen):
    """A Python script in a fork of this process, in a session of its own."""

    def _execute_child(self, args, *others):
        env = others[5]
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.setsid()
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                    signal.signal(number, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.environ.clear()
                os.environ.update(env)
                sys.argv = [arg for arg in args[1:] if arg != '-u']
                code = end_of(runpy.run_path, sys.argv[0])
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        self._child_created = True


def fork_workers():
    """Let torchrun fork its processes, which then have nothing to import."""
    from torch.distributed.elastic.multiprocessing import subprocess_handler

    subprocess_handler.subprocess_handler.Popen = _Fork


def preload(request):
    """Import here, once, what the forks of a tool would import each."""
    name = Path(request.get('tool', 'train.py')).stem
    if request.get('module') == 'csd_mmrazor':
        name = ''.join(request['argv'][:1])
    with suppress(ImportError):
        importlib.import_module(f'csd_mmrazor.cli.{name}')
        gc.freeze()  # so that no fork looks through all that was imported


def serve(request):
    """Fork, maybe kill, and wait."""
    preload(request)
    start = time.monotonic()
    pids = []
    for env in request['envs']:
        pid = os.fork()
        if pid == 0:
            child(request, env)
        pids.append(pid)
    status = [None] * len(pids)
    to_kill = request.get('kill', range(len(pids)))
    kill_at = request.get('kill_after')
    while None in status:
        for rank, pid in enumerate(pids):
            if status[rank] is None:
                done, code = os.waitpid(pid, os.WNOHANG)
                if done:
                    status[rank] = os.waitstatus_to_exitcode(code)
        passed = time.monotonic() - start
        if kill_at is not None and passed > kill_at:
            kill_at = None
            for rank in to_kill:
                if status[rank] is None:
                    os.kill(pids[rank], signal.SIGKILL)
        ended = [code for code in status if code is not None]
        # As torchrun does: one that fails takes the others with it.
        if passed > request.get('timeout', 600) or any(ended):
            for rank, pid in enumerate(pids):
                if status[rank] is None:
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return dict(status=status, seconds=time.monotonic() - start)


def main():
    # What a run imports on its way, so that no fork has to.
    import matplotlib.pyplot  # noqa: F401
    import sklearn.datasets
    import sklearn.model_selection  # noqa: F401
    from mmengine.config import Config

    sys.path.insert(0, str(ROOT))
    from helpers import hasten

    import csd_mmrazor.cli.train  # noqa: F401
    from csd_mmrazor.datasets import Digits
    from csd_mmrazor.report.page import packed_plotly, page_template

    Digits(split='test', pipeline=[])
    packed_plotly()
    page_template()
    hasten()
    Config.fromfile(ROOT / 'configs/csd/csd_quickstart_digits.py')
    gc.freeze()
    print('ready', flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == '__main__':
    main()
