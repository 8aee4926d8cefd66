# Copyright (c) csd_mmrazor developers. All rights reserved.
from .network import own_network
from .onnx import export_onnx
from .program import export_program
from .source import find_checkpoint, find_config, read_run_config
from .student import (
    ExportedStudent,
    export_student,
    is_export,
    notes,
    plain_student,
)
from .student_config import plain_config

__all__ = [
    'ExportedStudent',
    'export_onnx',
    'export_program',
    'export_student',
    'find_checkpoint',
    'find_config',
    'is_export',
    'notes',
    'own_network',
    'plain_config',
    'plain_student',
    'read_run_config',
]
