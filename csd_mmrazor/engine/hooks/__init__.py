# Copyright (c) csd_mmrazor developers. All rights reserved.
from .export_student_hook import ExportStudentHook
from .synthesis_hook import SynthesisHook

__all__ = ['ExportStudentHook', 'SynthesisHook']
