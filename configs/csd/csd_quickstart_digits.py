# CSD in minutes on two CPU cores: the paper's algorithm, hook and bank on
# the 8x8 digits of scikit-learn. tools/quickstart.sh takes a faster variant,
# csd_fast_quickstart_digits.py. Train the teacher first:
#   python tools/train.py configs/teachers/resnet_digits.py
_base_ = ['../_base_/csd.py', '../_base_/digits.py']

# ---- Frequently modified -------------------------------------------------
img_size = 8
max_epochs = 10
steps, batch_size = 40, 128
# Digits are not flipped, and moved by one pixel at most.
augment = dict(type='RandomCropFlip', padding=1, flip_prob=0)

default_hooks = dict(
    synthesis=dict(
        init_rounds=10,
        init_iters=100,
        synthesizer=dict(
            batch_size=128,
            iters=50,
            generator=dict(img_size=img_size, channels=1),
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
            ckpt_path='work_dirs/resnet_digits/epoch_30.pth',
        )
    ),
)

train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(num_samples=steps * batch_size)
)
