# DeepInversion as Fang et al. ran it for their tables, by
# deepinv_cifar10_wrn402_wrn161.sh of github zju-vipa/CMI: half the steps,
# another learning rate, a jitter of 4 pixels with flips, pixels that are
# brought back to 0..255 after each step, and another total variation.
_base_ = './deepinversion_wrn40-2_wrn16-1_cifar10.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            iters=1000,
            generator=dict(clip=True),
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=1),
                loss_bn=dict(type='BNStatisticsLoss', loss_weight=10),
                loss_tv=dict(type='MeanTotalVariationLoss', loss_weight=1e-3),
                loss_competition=dict(
                    type='CompetitionLoss', loss_weight=1, tau=3, clamped=True
                ),
            ),
            optimizer=dict(lr=0.1, betas=(0.5, 0.99)),
            augment=dict(shift=4, flip_prob=0.5),
            labels='random',
        )
    )
)
