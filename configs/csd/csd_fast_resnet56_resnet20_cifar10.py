# ResNet-56 > ResNet-20 on CIFAR-10 with 36 TFLOP of passes, a quarter of
# csd_best_resnet56_resnet20_cifar10.py, and without the term. The figures are
# in docs/results.md.
_base_ = './csd_best_resnet56_resnet20_cifar10.py'

# ---- Frequently modified -------------------------------------------------
# Epochs, with one round of synthesis before each.
max_epochs = 7
# Student steps per epoch, and images per step.
steps, batch_size = 105, 128

default_hooks = dict(
    synthesis=dict(
        init_rounds=3,
        init_iters=12,
        synthesizer=dict(
            iters=12,
            views_per_image=None,
            losses=dict(loss_csd=dict(loss_weight=0)),
        ),
    ),
)
model = dict(aux_head=None)
optim_wrapper = dict(architecture=dict(optimizer=dict(lr=0.07)))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
train_dataloader = dict(sampler=dict(num_samples=steps * batch_size))
