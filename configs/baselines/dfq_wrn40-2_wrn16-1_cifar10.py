# DFQ-style adversarial distillation (Choi et al., CVPR Workshops 2020): one
# generator goes on through the whole run. Weights of dfq_cifar10_wrn402_
# wrn161.sh of github zju-vipa/CMI, which takes a step of the generator for
# every 10 of the student. Here the 40 steps of an epoch come before it, in 4
# rounds, and the student draws from all images so far, as CSD's does.
_base_ = '../_base_/related_wrn40-2_wrn16-1_cifar10.py'

default_hooks = dict(
    synthesis=dict(
        rounds=4,
        synthesizer=dict(
            iters=10,
            losses=dict(
                _delete_=True,
                loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
                loss_adv=dict(type='AdversarialLoss', loss_weight=1),
            ),
            # MMRazor's losses of the teacher's logits.
            distiller=dict(
                type='ConfigurableDistiller',
                teacher_recorders=dict(
                    logits=dict(type='ModuleOutputs', source='teacher.head')
                ),
                distill_losses=dict(
                    # It is to be sure of whatever it sees ...
                    loss_oh=dict(type='OnehotLikeLoss', loss_weight=1),
                    # ... of all classes alike: 20, where the logarithm is
                    # natural. Processes make rounds of their own.
                    loss_balance=dict(
                        type='InformationEntropyLoss',
                        loss_weight=46.05,
                        gather=False,
                    ),
                ),
                loss_forward_mappings=dict(
                    loss_oh=dict(
                        preds_T=dict(from_student=False, recorder='logits')
                    ),
                    loss_balance=dict(
                        preds_T=dict(from_student=False, recorder='logits')
                    ),
                ),
            ),
            # A step of 1 towards the generator of a round: it is taken over.
            meta=dict(
                type='MetaGenerator',
                rule='reptile',
                optimizer=dict(type='SGD', lr=1.0),
            ),
        ),
    )
)
