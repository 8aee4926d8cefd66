# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The notebook runs in a real kernel, with images that are made up."""

import json
import os

import nbclient
import nbformat
from helpers import ROOT

NOTEBOOK = ROOT / 'examples/mnist.ipynb'


def test_the_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv('BUDGET', '4')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name='python3',
        resources=dict(metadata=dict(path=str(tmp_path))),
    )
    client.execute()
    texts = ''.join(
        output.get('text', '')
        for cell in notebook.cells
        for output in cell.get('outputs', [])
    )
    assert 'plan: ' in texts and 'student: ' in texts
    assert 'the teacher is at chance' not in texts
    images = [
        output
        for cell in notebook.cells
        for output in cell.get('outputs', [])
        if 'image/png' in output.get('data', {})
    ]
    assert len(images) == 1
    assert (tmp_path / 'runs/notebook/report.html').is_file()
    assert not os.path.exists(tmp_path / 'mnist')


def test_no_outputs_are_kept_in_it():
    cells = json.loads(NOTEBOOK.read_text())['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert len(code) > 4
    assert all(not c['outputs'] and c['execution_count'] is None for c in code)
