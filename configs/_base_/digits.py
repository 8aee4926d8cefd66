# The digits of scikit-learn: 8x8, grey, 10 classes. With the networks for
# them, teacher_net and student_net.
_base_ = './pairs/resnet_digits.py'

data_preprocessor = dict(
    num_classes=10,
    # Mean and std of the 1,437 training images, 0..255.
    mean=[77.9],
    std=[95.9],
    to_rgb=False,
)

val_dataloader = dict(
    batch_size=360,
    num_workers=0,
    dataset=dict(
        type='mmrazor.Digits', split='test', pipeline=[dict(type='PackInputs')]
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
