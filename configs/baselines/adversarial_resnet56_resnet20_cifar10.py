# The alternative to the CSD term for ResNet-56 > ResNet-20: images on which
# student and teacher disagree. All else is CSD's.
_base_ = '../csd/csd_resnet56_resnet20_cifar10.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=1),
                loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
                # 1 in DFQ's script for CIFAR-10, github zju-vipa/CMI.
                loss_adv=dict(type='AdversarialLoss', loss_weight=1),
            )
        )
    )
)
# No auxiliary task.
model = dict(aux_head=None)
