# Shared by all data sets of real images: how they are read, and a classifier
# without its backbone. See cifar10.py.
classifier = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', loss=dict(type='CrossEntropyLoss')),
)

val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    dataset=dict(split='test', pipeline=[dict(type='PackInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
