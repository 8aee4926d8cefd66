# Copyright (c) csd_mmrazor developers. All rights reserved.
import json


def test_the_tool_writes_the_report_of_a_run(forked, tmp_path):
    logs = tmp_path / 'run/20260101_100000/vis_data'
    logs.mkdir(parents=True)
    line = json.dumps({'accuracy/top1': 50.0, 'step': 1})
    (logs / 'scalars.json').write_text(line)
    done = forked('run', tool='report.py')
    assert done.status == [0], done.output
    assert done.stdout == 'Report: run/report.html\n'
    assert 'Accuracy on real images' in (
        (tmp_path / 'run/report.html').read_text()
    )
    done = forked('run', 'lost', '--out', 'two.html', tool='report.py')
    assert done.status == [1]
    assert done.stderr.strip().splitlines()[-1] == (
        'FileNotFoundError: lost is not a folder: give the work dir of a run.'
    )
    assert not (tmp_path / 'two.html').exists()
