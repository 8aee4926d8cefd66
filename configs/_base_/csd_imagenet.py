# CSD, validated on ImageNet. A config of configs/csd adds the networks. The
# authors have no ImageNet. The number of images is that of DeepInversion and
# of Fast-Datafree (140,000), whose code and logs for ResNet-50 > ResNet-18
# (github zju-vipa/Fast-Datafree) have the schedule of the student. Nobody
# has run this schedule to its end yet.
_base_ = ['./csd.py', './imagenet.py']

# ---- Frequently modified -------------------------------------------------
img_size = 224
# Epochs, with one round of synthesis before each.
max_epochs = 400
# Student steps per epoch, and images per step in each process.
steps, batch_size = 1000, 100

default_hooks = dict(
    synthesis=dict(
        # 1,094 rounds of 128 images. Steps are those of the paper.
        init_rounds=1094,
        init_iters=500,
        synthesizer=dict(
            batch_size=128,
            iters=200,
            amp='bfloat16',
            # Few channels on large maps.
            generator=dict(_delete_=True, type='PyramidGenerator'),
            # Fast-Datafree's: 3/4 of the area or more, at full size.
            augment=dict(
                _delete_=True, type='RandomResizedCropFlip', scale=(0.75, 1)
            ),
            # One random rotation of each image, not all 4.
            views_per_image=1,
        ),
    )
)
model = dict(
    image_shape=(3, img_size, img_size),
    # The teacher, 76.55 % top-1. Another file of the same network:
    #   --cfg-options model.teachers.teacher.ckpt_path=FILE
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py',
                pretrained=False,
            ),
            ckpt_path='https://download.openmmlab.com/mmclassification/v0/'
            'resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth',
        )
    ),
    data_preprocessor=dict(
        augment=dict(
            _delete_=True, type='RandomResizedCropFlip', scale=(0.25, 1)
        ),
        **_base_.data_preprocessor,
    ),
    aux_head=dict(views_per_image=1),
    distiller=dict(distill_losses=dict(loss_kd=dict(tau=5))),
)
optim_wrapper = dict(
    architecture=dict(type='mmrazor.AutocastOptimWrapper'),
    aux_head=dict(type='mmrazor.AutocastOptimWrapper'),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
# For --auto-scale-lr: the total batch size that these learning rates are for.
auto_scale_lr = dict(base_batch_size=100)
train_dataloader = dict(
    batch_size=batch_size,
    # 29 GB in the end.
    dataset=dict(storage='disk'),
    sampler=dict(num_samples=steps * batch_size),
)
