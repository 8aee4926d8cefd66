# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Repairs of what is broken between today's torch, MMEngine and MMRazor.

This is the only package that patches a library. Every repair is one function
whose docstring names the cause and, where there is one, the upstream report;
it looks for its cause first and leaves everything alone where that is absent.
:func:`apply` runs them all, once, on ``import csd_mmrazor``. Those of
:mod:`.conveniences` can be turned off.
"""

import importlib
from contextlib import nullcontext
from typing import Callable, Dict, Optional

from .versions import check_versions, require_joblib

__all__ = ['apply', 'check_versions', 'in_force']

# Whether each repair found its cause, by its name; see :func:`in_force`.
_in_force: Dict[str, bool] = {}


def apply() -> None:
    """Run every repair; a second call does nothing."""
    if _in_force:
        return
    # Not above: they import what check_versions() looks for.
    from . import (
        conveniences,
        data_files,
        launcher,
        mmcls,
        mmcv,
        mmengine,
        mmpretrain,
        mmrazor,
        mmrazor_configs,
        mmrazor_quantization,
        mmrazor_searches,
        mmrazor_weights,
        timm,
    )

    # MMEngine first: MMRazor is imported with it in order.
    _run(
        mmengine.find_packages_without_setuptools,
        mmengine.report_environment_without_distutils,
        mmcv.import_lite_without_a_warning,
        mmcls.read_mmcls_as_mmpretrain,
        mmcls.import_mmcls_from_mmpretrain,
        mmengine.never_install_packages,
        mmengine.check_types_of_arguments,
        mmengine.validate_outputs_without_losses,
        mmengine.let_interrupts_end_formatting,
        mmengine.keep_order_of_configs,
        mmengine.refuse_configs_that_inherit_themselves,
        mmengine.log_which_checkpoints_are_read,
        mmengine.checkpoint_activations_of_first_layers,
        mmengine.fuse_bn_layers_of_convolutions_alone,
        launcher.launch_without_cuda,
        launcher.take_no_mps,
        data_files.load_checkpoints_safely,
        data_files.resume_from_intact_checkpoints,
        data_files.never_run_texts_of_configs,
        data_files.read_yaml_safely,
        data_files.read_pickles_safely,
        data_files.keep_methods_of_schedulers,
        data_files.write_checkpoints_atomically,
        data_files.write_configs_atomically,
        data_files.leave_other_runs_checkpoints_alone,
        require_joblib,
    )
    importing = nullcontext()
    if conveniences.are_on():
        _run(
            conveniences.build_from_local_configs,
            conveniences.explain_unknown_types,
            conveniences.format_configs_once,
            conveniences.say_where_no_checkpoint_is,
            conveniences.read_metafiles_once,
            conveniences.make_figures_when_used,
        )
        importing = conveniences.seldom_used_deferred()
    with importing:
        _run(
            mmrazor_quantization.build_backend_configs,
            mmrazor_quantization.fuse_by_the_old_keyword,
            mmrazor.import_without_quantization,
        )
        importlib.import_module('mmrazor.engine')
    _run(
        mmrazor.record_before_inplace_layers,
        mmrazor.record_before_inplace_operations,
        mmrazor.convert_sequentials_of_dicts,
        mmrazor.train_data_free_in_one_process,
        mmrazor.refuse_images_as_inputs,
        mmrazor.keep_teachers_out_of_checkpoints,
        mmrazor.predict_without_numpy_aliases,
        mmrazor.contrast_classes_of_any_size,
        mmrazor.train_dsnas_without_gradients_of_zeros,
        mmrazor.train_dmcp_under_ddp,
        mmrazor.begin_validations_once,
        mmrazor.bound_losses_of_sure_networks,
        mmrazor.draw_features_by_any_visualizer,
        mmrazor.draw_subnets_of_dmcp_within_limits,
        mmrazor_configs.find_preprocessors_of_networks,
        mmrazor_configs.take_preprocessors_without_type,
        mmrazor_configs.take_old_names_of_arguments,
        mmrazor_configs.find_subnets,
        mmrazor_configs.take_tokens_of_mmpretrain,
        mmrazor_configs.download_nothing_that_is_given,
        mmrazor_weights.load_all_weights_of_a_file,
        mmrazor_weights.initialize_teachers_by_whole_files,
        mmrazor_searches.read_candidates_without_running,
        mmrazor_searches.draw_choices_as_plain_texts,
        mmrazor_searches.calibrate_on_no_more_samples_than_asked,
        mmrazor_searches.resume_searches_from_their_state,
        mmrazor_searches.never_run_files_of_predictors,
        mmrazor_quantization.keep_fixed_ranges,
        mmrazor_quantization.keep_learned_scales,
        mmrazor_quantization.deploy_without_mmdeploy,
        mmrazor_quantization.trace_without_mmdeploy,
        mmrazor_quantization.export_fake_quantizers,
        mmpretrain.export_windows_of_any_batch,
        mmpretrain.read_files_as_data,
        mmpretrain.read_dtypes_as_names,
        timm.read_weights_as_data,
        mmcv.explain_missing_operators,
    )


def _run(*repairs: Callable[[], Optional[bool]]) -> None:
    for repair in repairs:
        _in_force[repair.__name__] = repair() is not False


def in_force() -> Dict[str, bool]:
    """Which repairs there are, and whether each found its cause here.

    Returns:
        dict[str, bool]: By the repair's name, in the order they were run.
            False where the libraries are right as they are.
    """
    return dict(_in_force)
