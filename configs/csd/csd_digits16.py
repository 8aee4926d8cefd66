# CSD on digits of 16x16 pixels, with a student of 27 times fewer weights
# than its teacher and little to learn from: without the CSD term it reaches
# some 90 %. The setting of the study in docs/results.md. Make the teacher
# first:
#   python tools/train.py configs/teachers/resnet_digits16.py
_base_ = ['../_base_/csd.py', '../_base_/digits16.py']

# ---- Frequently modified -------------------------------------------------
img_size = 16
max_epochs = 10
steps, batch_size = 40, 64
# Digits are neither mirrored nor moved by more than two pixels.
augment = dict(type='RandomCropFlip', padding=2, flip_prob=0)

default_hooks = dict(
    synthesis=dict(
        init_rounds=2,
        init_iters=30,
        synthesizer=dict(
            batch_size=32,
            iters=30,
            generator=dict(
                img_size=img_size,
                channels=1,
                latent_dim=64,
                hidden_channels=32,
            ),
            augment=augment,
        ),
    ),
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=1),
)

model = dict(
    image_shape=(1, img_size, img_size),
    data_preprocessor=dict(augment=augment, **_base_.data_preprocessor),
    architecture=_base_.student_net,
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher_net,
            ckpt_path='work_dirs/resnet_digits16/epoch_30.pth',
        )
    ),
)

train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(num_samples=steps * batch_size)
)
