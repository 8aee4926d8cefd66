# The networks for digits of 16x16 pixels: what differs from resnet_digits.py.
teacher = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    head=dict(in_channels=64),
)
student = dict(
    backbone=dict(stem_channels=3, base_channels=3),
    head=dict(in_channels=12),
)
