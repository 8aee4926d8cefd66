# CSD on CIFAR-10 in minutes on two CPU cores, with small networks and few
# images. The generator continues from round to round, as in
# csd_warm_quickstart_digits.py. A new generator in each round would make a
# tenth of the images in that time. Train the teacher on real images first:
#   python tools/train.py configs/teachers/resnet14-32_cifar10.py
_base_ = [
    '../_base_/csd_cifar10.py',
    '../_base_/pairs/resnet14-32_resnet14-16.py',
]

# ---- Frequently modified -------------------------------------------------
max_epochs = 20
steps, batch_size = 150, 128

default_hooks = dict(
    synthesis=dict(
        # Rounds before every epoch, and before training starts.
        rounds=4,
        init_rounds=40,
        # Steps in each initial round.
        init_iters=10,
        synthesizer=dict(
            batch_size=128,
            iters=10,
            # Takes two thirds of the time on a CPU that supports it.
            amp='bfloat16',
            generator=dict(hidden_channels=32),
            meta=dict(
                type='MetaGenerator',
                rule='reptile',
                optimizer=dict(type='SGD', lr=1),
            ),
        ),
    ),
    logger=dict(interval=50),
    checkpoint=dict(max_keep_ckpts=1),
)

model = dict(
    architecture=_base_.student,
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/resnet14-32_cifar10/epoch_12.pth',
        )
    ),
)

optim_wrapper = dict(
    architecture=dict(type='mmrazor.AutocastOptimWrapper'),
    aux_head=dict(type='mmrazor.AutocastOptimWrapper'),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
val_dataloader = dict(num_workers=0)
test_dataloader = val_dataloader
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(num_samples=steps * batch_size)
)
