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
the seconds they took.
"""

import gc
import json
import os
import runpy
import signal
import sys
import time
import traceback
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
            runpy.run_module(request['module'], run_name='__main__')
        else:
            runpy.run_path(tool, run_name='__main__')
        code = 0
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
        code = {None: 0}.get(code, code if isinstance(code, int) else 1)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve(request):
    """Fork, maybe kill, and wait."""
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
    from csd_mmrazor.report.page import packed_plotly, page_template

    packed_plotly()
    page_template()
    hasten()
    Config.fromfile(ROOT / 'configs/csd/csd_quickstart_digits.py')
    gc.freeze()  # so that no fork looks through all that was imported
    print('ready', flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == '__main__':
    main()
