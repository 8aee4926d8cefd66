# Copyright (c) csd_mmrazor developers. All rights reserved.
from .onnx import export_onnx
from .source import find_checkpoint, find_config, read_run_config
from .student import ExportedStudent, export_student, notes, plain_student
from .student_config import plain_config

__all__ = [
    'ExportedStudent',
    'export_onnx',
    'export_student',
    'find_checkpoint',
    'find_config',
    'notes',
    'plain_config',
    'plain_student',
    'read_run_config',
]
