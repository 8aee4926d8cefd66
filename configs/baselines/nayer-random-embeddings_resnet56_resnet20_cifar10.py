# NAYER with random embeddings for ResNet-56 > ResNet-20: see
# nayer-random-embeddings_wrn40-2_wrn16-1_cifar10.py.
_base_ = [
    './nayer-random-embeddings_wrn40-2_wrn16-1_cifar10.py',
    '../_base_/related_resnet56_resnet20_cifar10.py',
]
model = _base_.pair
data_preprocessor = _base_.inputs
