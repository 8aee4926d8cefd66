# A lower bound for ResNet-56 > ResNet-20: images of generators with random
# weights, one for each 200 of 50,000 images. The student learns as in CSD, but
# without labels.
_base_ = '../csd/csd_resnet56_resnet20_cifar10.py'

default_hooks = dict(
    synthesis=dict(
        init_rounds=250,
        # The images of this one step are those before it.
        init_iters=1,
        rounds=0,
        synthesizer=dict(
            iters=1,
            losses=dict(_delete_=True, loss_oh=dict(type='OneHotLoss')),
            augment=None,
        ),
    )
)
model = dict(aux_head=None, student_loss=None)
