# The digits scaled to 16x16, and smaller networks: a task on which methods
# can be told apart (docs/results.md).
_base_ = './digits.py'

# Of the 1,437 training images at that size, 0..255.
data_preprocessor = dict(mean=[77.9], std=[81.3])

teacher_net = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    head=dict(in_channels=64),
)
student_net = dict(
    backbone=dict(stem_channels=3, base_channels=3), head=dict(in_channels=12)
)

val_dataloader = dict(dataset=dict(img_size=16))
test_dataloader = val_dataloader
