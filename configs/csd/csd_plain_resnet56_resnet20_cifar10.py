# ResNet-56 > ResNet-20 on CIFAR-10, 150 TFLOP of passes, with the settings of
# distill() for small colour images: without the term of the auxiliary task.
# The figures are in docs/results.md.
_base_ = './csd_resnet56_resnet20_cifar10.py'

# ---- Frequently modified -------------------------------------------------
# Epochs, with so many rounds of synthesis before each.
max_epochs, rounds = 10, 4
# Student steps per epoch, and images per step.
steps, batch_size = 140, 128

default_hooks = dict(
    synthesis=dict(
        # Rounds before training, and the steps of every round. A round adds
        # the images of its last step.
        init_rounds=17,
        init_iters=10,
        rounds=rounds,
        synthesizer=dict(
            batch_size=128,
            iters=10,
            amp='bfloat16',
            generator=dict(hidden_channels=32),
            # The generator's weights go on from round to round.
            meta=dict(
                type='MetaGenerator',
                rule='reptile',
                optimizer=dict(type='SGD', lr=1),
            ),
            losses=dict(loss_csd=dict(loss_weight=0)),
        ),
    ),
)
custom_hooks = [dict(type='mmrazor.TeacherBlocksHook')]
model = dict(aux_head=None)
optim_wrapper = dict(
    architecture=dict(
        type='mmrazor.AutocastOptimWrapper',
        # The loss of feature maps is large in the first steps.
        clip_grad=dict(max_norm=5),
    ),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(held_out=0),
    sampler=dict(num_samples=steps * batch_size),
)
param_scheduler = dict(
    architecture=dict(
        type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True
    ),
)
