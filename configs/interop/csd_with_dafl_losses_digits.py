# Shows: DAFL's ActivationLoss and InformationEntropyLoss, as MMRazor ships
# them, in CSD's synthesis objective. They go into the synthesizer's
# distiller, where recorders fetch what they are named to take.
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
                    # Processes make rounds of their own: no gathering.
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
