# Copyright (c) csd_mmrazor developers. All rights reserved.
from .calibration import (
    Pictures,
    balanced_order,
    calibration_images,
    stratified_order,
)
from .card import (
    CALIBRATED,
    DOUBTFUL,
    Quality,
    accuracy_on,
    as_it_ran,
    card_meanwhile,
    card_path,
    check_license,
    kept_of,
    list_networks,
    quality_of,
    quantized_card,
    training_bank,
)
from .free_names import check_free
from .network import own_network
from .onnx import export_onnx
from .program import export_program
from .quantized import (
    BITS,
    Quantized,
    check_exportable,
    check_quantization,
    decisions,
    is_quantized,
    quantize_onnx,
)
from .rounding import NonFiniteLossError, distil_rounded
from .source import (
    check_parts,
    find_checkpoint,
    find_config,
    is_export,
    look_up_in,
    read_run_config,
    was_chosen,
)
from .student import (
    ExportedStudent,
    classes_of,
    export_student,
    image_shape_of,
    normalisation_of,
    notes,
    plain_student,
)
from .student_config import class_names, plain_config

__all__ = [
    'classes_of',
    'BITS',
    'CALIBRATED',
    'DOUBTFUL',
    'ExportedStudent',
    'NonFiniteLossError',
    'Pictures',
    'Quality',
    'Quantized',
    'accuracy_on',
    'as_it_ran',
    'balanced_order',
    'calibration_images',
    'card_meanwhile',
    'card_path',
    'check_exportable',
    'check_free',
    'check_license',
    'check_parts',
    'check_quantization',
    'class_names',
    'decisions',
    'distil_rounded',
    'export_onnx',
    'export_program',
    'export_student',
    'find_checkpoint',
    'find_config',
    'look_up_in',
    'image_shape_of',
    'is_export',
    'is_quantized',
    'kept_of',
    'list_networks',
    'normalisation_of',
    'notes',
    'own_network',
    'plain_config',
    'plain_student',
    'quality_of',
    'quantized_card',
    'quantize_onnx',
    'read_run_config',
    'stratified_order',
    'training_bank',
    'was_chosen',
]
