# Adaptive DeepInversion (Yin et al., CVPR 2020) on the digits: pixels are
# optimised themselves. Weights as in deepinversion_resnet34_resnet18_
# cifar10.py; the steps are those of CSD's quickstart, not 2,000 a round.
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
                loss_competition=dict(type='CompetitionLoss', loss_weight=10),
            ),
            # Of the pixels; the paper's, 0.05, is too slow for 50 steps.
            optimizer=dict(_delete_=True, type='Adam', lr=0.1),
        )
    )
)
model = dict(aux_head=None)
