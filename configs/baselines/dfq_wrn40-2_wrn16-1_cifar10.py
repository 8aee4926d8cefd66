# DFQ-style adversarial distillation (Choi et al., CVPR Workshops 2020): one
# generator continues through the run. The weights are those of
# dfq_cifar10_wrn402_wrn161.sh of github zju-vipa/CMI, which takes one step of
# the generator for every 10 of the student. Here the 40 steps of an epoch come
# before it, in 4 rounds, and the student draws from all images so far, as in
# CSD.
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
            # MMRazor's losses on the teacher's logits.
            distiller=dict(
                type='ConfigurableDistiller',
                teacher_recorders=dict(
                    logits=dict(type='ModuleOutputs', source='teacher.head')
                ),
                distill_losses=dict(
                    # The teacher should be confident on every image ...
                    loss_oh=dict(type='OnehotLikeLoss', loss_weight=1),
                    # ... with balanced classes. 46.05 is a weight of 20 with
                    # natural logarithms. Processes make separate rounds, so
                    # nothing is gathered.
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
            # A step of 1 towards the generator of a round replaces the old
            # one by it.
            meta=dict(
                type='MetaGenerator',
                rule='reptile',
                optimizer=dict(type='SGD', lr=1.0),
            ),
        ),
    )
)
