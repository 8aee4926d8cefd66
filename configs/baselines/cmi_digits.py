# CMI (Fang et al., IJCAI 2021) on the digits: images should differ from all
# earlier ones. Weights as in cmi_wrn40-2_wrn16-1_cifar10.py.
_base_ = '../csd/csd_quickstart_digits.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=1),
                loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
                loss_adv=dict(
                    type='AdversarialLoss', loss_weight=0.5, agreed_only=True
                ),
                loss_cr=dict(
                    type='ContrastiveLoss',
                    loss_weight=0.8,
                    tau=0.1,
                    # Number of bank images to contrast with in each step.
                    memory_size=256,
                ),
            ),
            # The second view. Digits are not flipped.
            view_augment=dict(
                type='RandomResizedCropFlip', scale=(0.25, 1), flip_prob=0
            ),
        )
    )
)
model = dict(aux_head=None)
