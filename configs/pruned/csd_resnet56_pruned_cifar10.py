# Repairs a pruned ResNet-56 on CIFAR-10 without a real image. The network
# before it was pruned is the teacher; see docs/pruned.md for how it was
# pruned, and for the figures. To use another file:
#   --cfg-options model.architecture.shapes=FILE model.student_ckpt=FILE
_base_ = '../csd/csd_fast_resnet56_resnet20_cifar10.py'

# ---- Frequently modified -------------------------------------------------
# What was left of ResNet-56, a state dict: how many channels each layer has,
# and their weights. Options: the two above.
pruned = 'pruned_2x.pth'
# Rounds of synthesis, all of them before training, since those of a generator
# that has hardly begun are worst; epochs, student steps per epoch, and images
# per step.
rounds = 7
max_epochs, steps, batch_size = 5, 40, 128

model = dict(
    architecture=dict(
        _delete_=True,
        type='mmrazor.PrunedNetwork',
        network=dict(
            _scope_='mmpretrain',
            type='ImageClassifier',
            backbone=dict(type='mmrazor.CIFARResNet', depth=56),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=10,
                in_channels=64,
                loss=dict(type='CrossEntropyLoss'),
            ),
        ),
        shapes=pruned,
    ),
    student_ckpt=pruned,
)
# The student has its own weights, and no blocks of the teacher. Those behind
# channels that pruning removed are fitted to the teacher by least squares.
custom_hooks = [dict(type='mmrazor.RefitHook')]
default_hooks = dict(synthesis=dict(init_rounds=rounds, rounds=0))
optim_wrapper = dict(architecture=dict(optimizer=dict(lr=0.01)))
param_scheduler = dict(
    architecture=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
        dict(
            type='CosineAnnealingLR',
            by_epoch=True,
            convert_to_iter_based=True,
        ),
    ],
)
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
train_dataloader = dict(sampler=dict(num_samples=steps * batch_size))
