# Two ResNets of three stages for grey digits of 8x8 pixels. The teacher is
# four times as wide as the student.
backbone = dict(
    type='ResNet_CIFAR',
    depth=18,
    in_channels=1,
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(2,),
)
head = dict(
    type='LinearClsHead', num_classes=10, loss=dict(type='CrossEntropyLoss')
)
classifier = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    neck=dict(type='GlobalAveragePooling'),
)

teacher_net = dict(
    backbone=dict(stem_channels=32, base_channels=32, **backbone),
    head=dict(in_channels=128, **head),
    **classifier,
)
student_net = dict(
    backbone=dict(stem_channels=8, base_channels=8, **backbone),
    head=dict(in_channels=32, **head),
    **classifier,
)
# Only the two networks are for the configs that inherit this one.
del backbone, head, classifier
