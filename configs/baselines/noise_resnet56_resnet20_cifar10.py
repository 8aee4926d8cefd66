# A lower bound for ResNet-56 > ResNet-20: 50,000 images of Gaussian noise with
# the mean and std by which the teacher's inputs are normalised (ImageNet's).
_base_ = './untrained-generator_resnet56_resnet20_cifar10.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            generator=dict(
                _delete_=True,
                type='PixelGenerator',
                img_size=_base_.img_size,
                mean=_base_.data_preprocessor.mean,
                std=_base_.data_preprocessor.std,
            )
        )
    )
)
