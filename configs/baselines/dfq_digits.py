# DFQ's objective (Choi et al., CVPR Workshops 2020) on the digits: one
# generator continues through the run and is trained to make images on which
# student and teacher disagree. As many steps in total as CSD's quickstart.
_base_ = './fast_digits.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            losses=dict(
                _delete_=True,
                loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
                loss_adv=dict(type='AdversarialLoss', loss_weight=1),
                loss_oh=dict(type='OneHotLoss', loss_weight=1),
            ),
            optimizer=dict(lr=1e-3),
            latent_lr=None,
            # A step of 1 towards the generator of a round replaces the old
            # one by it.
            meta=dict(
                _delete_=True,
                type='MetaGenerator',
                rule='reptile',
                optimizer=dict(type='SGD', lr=1.0),
            ),
        )
    )
)
