# Copyright (c) csd_mmrazor developers. All rights reserved.
from .cast_weights import cast_together
from .changing_weights import marking_changing_weights
from .checkpoints import (
    check_checkpoint_file,
    find_weights,
    load_state,
    load_weights,
)
from .classes import about_precision, count_classes, same_classes
from .cut_off import check_not_cut_off, check_trains_what_decides, cut_off
from .divided import about_divided
from .draws import Draws, drawn
from .fast_frozen_bn import (
    BNStatistics,
    CollectedStatistics,
    bn_layers,
    fast_frozen_bn,
)
from .features import (
    as_map,
    layer_means,
    pooled_features,
    recorded_outputs,
    submodule,
)
from .foreach import with_foreach
from .functional_bn import functional_bn
from .healthy import check_statistics, check_weights
from .integers import without_integers
from .kept_norm import keep_norm
from .likeness import Likeness
from .lost_state import (
    about_lost,
    changed_attributes,
    check_kept_state,
    plain_attributes,
)
from .memory_format import (
    contiguous,
    keep_contiguous,
    memory_format,
    needs_contiguous,
    set_memory_format,
)
from .modes import (
    as_in_training,
    evaluating,
    frozen,
    initial_values,
    renew_modes,
    reset_weights,
)
from .narrowing import narrow
from .optimizer_state import load_optimizer_state, optimizer_state
from .outputs import (
    about_one_number,
    about_outputs,
    check_order,
    check_outputs,
    check_passes_gradients,
    check_repeats,
    full_precision,
    logits_of,
    place_of_logits,
)
from .own_memory import check_memory, check_ties, own_memory
from .predictions import bring_to_host
from .recorders import (
    KeptMaps,
    attached,
    check_losses_are_used,
    check_mapped_names,
    check_mappings,
    check_recorders,
    distill_losses,
    forget_records,
    record_labels,
    record_logits,
    records_of_logits,
    to_float16,
)
from .refitting import Place, find_refittable, refit, ridge
from .teacher_blocks import (
    BlockChoice,
    Chain,
    choose_blocks,
    copy_blocks,
    count_candidates,
    find_chains,
)
from .teachers import build_teacher, load_init_file
from .tokens import layer_tokens, token_layers
from .unwrapped import place_in_wrappers, unwrapped

__all__ = [
    'about_divided',
    'about_lost',
    'changed_attributes',
    'plain_attributes',
    'about_one_number',
    'about_precision',
    'check_memory',
    'check_ties',
    'own_memory',
    'about_outputs',
    'check_outputs',
    'check_repeats',
    'BNStatistics',
    'Chain',
    'BlockChoice',
    'CollectedStatistics',
    'Draws',
    'bn_layers',
    'bring_to_host',
    'build_teacher',
    'fast_frozen_bn',
    'functional_bn',
    'as_in_training',
    'as_map',
    'attached',
    'cast_together',
    'check_kept_state',
    'check_losses_are_used',
    'check_not_cut_off',
    'check_mapped_names',
    'check_mappings',
    'check_order',
    'check_passes_gradients',
    'check_recorders',
    'check_trains_what_decides',
    'check_statistics',
    'check_checkpoint_file',
    'check_weights',
    'choose_blocks',
    'contiguous',
    'copy_blocks',
    'count_candidates',
    'count_classes',
    'cut_off',
    'distill_losses',
    'drawn',
    'forget_records',
    'evaluating',
    'find_chains',
    'find_refittable',
    'Likeness',
    'Place',
    'refit',
    'ridge',
    'frozen',
    'initial_values',
    'full_precision',
    'layer_means',
    'layer_tokens',
    'token_layers',
    'load_optimizer_state',
    'find_weights',
    'load_init_file',
    'load_state',
    'load_weights',
    'narrow',
    'without_integers',
    'keep_contiguous',
    'marking_changing_weights',
    'logits_of',
    'memory_format',
    'needs_contiguous',
    'optimizer_state',
    'place_in_wrappers',
    'place_of_logits',
    'pooled_features',
    'record_labels',
    'record_logits',
    'recorded_outputs',
    'records_of_logits',
    'KeptMaps',
    'keep_norm',
    'to_float16',
    'renew_modes',
    'reset_weights',
    'same_classes',
    'set_memory_format',
    'submodule',
    'unwrapped',
    'with_foreach',
]
