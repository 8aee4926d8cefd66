# CSD on digits of 16x16 pixels. The student has 27 times fewer weights than
# its teacher and few images to learn from; without the CSD term it reaches
# about 90 %. This is the setting of the study in docs/results.md. Train the
# teacher first:
#   python tools/train.py configs/teachers/resnet_digits16.py
_base_ = [
    './csd_quickstart_digits.py',
    '../_base_/pairs/resnet_digits16.py',
]

# ---- Frequently modified -------------------------------------------------
img_size = 16
steps, batch_size = 40, 64
# Digits are not flipped, and moved by two pixels at most.
augment = dict(padding=2)

default_hooks = dict(
    synthesis=dict(
        init_rounds=2,
        init_iters=30,
        synthesizer=dict(
            batch_size=32,
            iters=30,
            generator=dict(
                img_size=img_size, latent_dim=64, hidden_channels=32
            ),
            augment=augment,
        ),
    )
)

# Std of the 1,437 training images at this size, 0..255.
std = [81.3]
model = dict(
    image_shape=(1, img_size, img_size),
    data_preprocessor=dict(augment=augment, std=std),
    architecture=_base_.student,
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/resnet_digits16/epoch_30.pth',
        )
    ),
)
data_preprocessor = dict(std=std)

auto_scale_lr = dict(base_batch_size=batch_size)
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(num_samples=steps * batch_size)
)
val_dataloader = dict(dataset=dict(img_size=img_size))
test_dataloader = val_dataloader
