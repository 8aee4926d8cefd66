# Shows: DAFL's ActivationLoss and InformationEntropyLoss, as MMRazor ships
# them, in CSD's synthesis objective. They go into the distiller of the
# synthesizer, whose recorders provide their arguments.
_base_ = '../csd/csd_quickstart_digits.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            distiller=dict(
                type='ConfigurableDistiller',
                teacher_recorders=dict(
                    pooled=dict(type='ModuleOutputs', source='teacher.neck'),
                    logits=dict(type='ModuleOutputs', source='teacher.head'),
                ),
                distill_losses=dict(
                    loss_activation=dict(
                        type='ActivationLoss', loss_weight=0.01
                    ),
                    # Processes make separate rounds: nothing is gathered.
                    loss_entropy=dict(
                        type='InformationEntropyLoss',
                        loss_weight=5,
                        gather=False,
                    ),
                ),
                loss_forward_mappings=dict(
                    loss_activation=dict(
                        feat_T=dict(
                            from_student=False, recorder='pooled', data_idx=0
                        )
                    ),
                    loss_entropy=dict(
                        preds_T=dict(from_student=False, recorder='logits')
                    ),
                ),
            )
        )
    )
)
