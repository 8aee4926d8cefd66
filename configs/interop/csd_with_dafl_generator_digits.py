# Shows: MMRazor's DAFL generator in CSD. It outputs normalised inputs of three
# channels, but the synthesizer needs images. The adapter converts one channel
# to grey images in [0, 1].
_base_ = '../csd/csd_quickstart_digits.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            generator=dict(
                _delete_=True,
                type='GeneratorAdapter',
                to='images',
                channels=1,
                mean=_base_.data_preprocessor.mean,
                std=_base_.data_preprocessor.std,
                generator=dict(
                    type='DAFLGenerator',
                    img_size=_base_.img_size,
                    latent_dim=256,
                    hidden_channels=128,
                ),
            )
        )
    )
)
