# A teacher of anyone's own, trained on MNIST, data/mnist/{train,test}/<class>.
_base_ = './digits_teacher.py'

data_preprocessor = dict(mean=[33.3], std=[78.6])
model = dict(width=16, data_preprocessor=data_preprocessor)
mnist = dict(
    _delete_=True,
    type='mmrazor.FolderImages',
    image_shape=(1, 28, 28),
    num_classes=10,
)
train_dataloader = dict(
    batch_size=128, dataset=dict(data_root='data/mnist/train', **mnist)
)
val_dataloader = dict(dataset=dict(data_root='data/mnist/test', **mnist))
test_dataloader = val_dataloader
param_scheduler = dict(convert_to_iter_based=True)
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
