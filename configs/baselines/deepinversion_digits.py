# Adaptive DeepInversion (Yin et al., CVPR 2020) on the digits: the pixels are
# optimised directly. Weights as in
# deepinversion_wrn40-2_wrn16-1_cifar10.py, but the number of steps is that of
# CSD's quickstart instead of 2,000 per round.
_base_ = '../csd/csd_quickstart_digits.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            generator=dict(
                _delete_=True,
                type='PixelGenerator',
                img_size=_base_.img_size,
                channels=1,
                mean=_base_.data_preprocessor.mean,
                std=_base_.data_preprocessor.std,
            ),
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=1),
                loss_bn=dict(type='BNStatisticsLoss', loss_weight=10),
                loss_tv=dict(type='TotalVariationLoss', loss_weight=2.5e-5),
                loss_l2=dict(type='L2PriorLoss', loss_weight=3e-8),
                loss_competition=dict(
                    type='CompetitionLoss', loss_weight=10, clamped=True
                ),
            ),
            # Learning rate of the pixels. The paper's, 0.05, is too low for
            # 50 steps.
            optimizer=dict(_delete_=True, type='Adam', lr=0.1),
            augment=dict(_delete_=True, type='RandomRoll', shift=1),
            labels='balanced',
            keep='last',
        )
    )
)
model = dict(aux_head=None)
