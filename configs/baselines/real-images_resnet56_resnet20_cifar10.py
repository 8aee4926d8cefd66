# The upper bound for ResNet-56 > ResNet-20: CSD's student, losses and steps on
# the 50,000 training images. This config opens real training images:
#   --cfg-options train_dataloader.dataset.init_bank=FOLDER
# with <class>/*.png in it.
_base_ = '../csd/csd_resnet56_resnet20_cifar10.py'

default_hooks = dict(
    synthesis=dict(
        rounds=0,
        synthesizer=dict(losses=dict(loss_csd=dict(loss_weight=0))),
    )
)
model = dict(aux_head=None)
train_dataloader = dict(dataset=dict(init_bank='data/cifar10/train'))
