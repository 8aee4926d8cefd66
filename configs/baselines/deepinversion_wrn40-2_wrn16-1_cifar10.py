# Adaptive DeepInversion (Yin et al., CVPR 2020): the pixels are optimised
# directly. The numbers are those of the paper's experiments on CIFAR-10,
# section 4.1, and of the authors' code, github NVlabs/DeepInversion, cifar10.
# The student's schedule is that of the other related methods. The figure that
# is published for this pair is that of deepinversion-1k.
_base_ = '../_base_/related_wrn40-2_wrn16-1_cifar10.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            iters=2000,
            generator=dict(
                _delete_=True,
                type='PixelGenerator',
                img_size=_base_.img_size,
                mean=_base_.model.data_preprocessor.mean,
                std=_base_.model.data_preprocessor.std,
            ),
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=1),
                loss_bn=dict(type='BNStatisticsLoss', loss_weight=10),
                # Makes images smooth ...
                loss_tv=dict(type='TotalVariationLoss', loss_weight=2.5e-5),
                # ... and of small norm.
                loss_l2=dict(type='L2PriorLoss', loss_weight=3e-8),
                # Student and teacher should disagree ("adaptive").
                loss_competition=dict(
                    type='CompetitionLoss', loss_weight=10, tau=3, clamped=True
                ),
            ),
            optimizer=dict(_delete_=True, type='Adam', lr=0.05),
            # A jitter of 2 pixels, round the edges.
            augment=dict(_delete_=True, type='RandomRoll', shift=2),
            labels='balanced',
            # The authors keep a reference to the pixels of the best step,
            # which Adam changes in place.
            keep='last',
        )
    )
)
