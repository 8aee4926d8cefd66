# Shows: CSD's generator in MMRazor's own DAFL. It outputs images in [0, 1],
# but MMRazor's algorithms need the inputs of the networks. The adapter
# normalises the images.
_base_ = '../baselines/dafl_digits.py'

model = dict(
    generator=dict(
        _delete_=True,
        type='GeneratorAdapter',
        to='inputs',
        mean=_base_.data_preprocessor.mean,
        std=_base_.data_preprocessor.std,
        generator=dict(
            type='CSDGenerator',
            img_size=8,
            channels=1,
            latent_dim=1000,
            hidden_channels=64,
        ),
    )
)
