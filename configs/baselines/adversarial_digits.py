# The alternative to the CSD term on the digits: images on which student and
# teacher disagree, instead of images that the student does not understand.
# Used by DFQ (Choi et al., CVPR Workshops 2020) and CMI, among others.
_base_ = '../csd/csd_quickstart_digits.py'

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
