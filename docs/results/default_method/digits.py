# The digits of scikit-learn, 8x8 pixels, as distill() has them. Their teacher:
# digits_teacher.py.
_base_ = './grey.py'

# Grey images are moved by a fourteenth of their size at most, these by 0.
augment = dict(padding=0)
default_hooks = dict(synthesis=dict(synthesizer=dict(augment=augment)))
model = dict(
    image_shape=(1, 8, 8),
    data_preprocessor=dict(augment=augment, std=[95.9]),
    teachers=dict(
        teacher=dict(ckpt_path='work_dirs/default_method/digits/epoch_20.pth')
    ),
)
val_dataloader = dict(dataset=dict(img_size=8))
