# Fast-Datafree with 2 steps per round, "Fast-2". See Fast-10's config.
_base_ = './fast10_wrn40-2_wrn16-1_cifar10.py'

# Steps per round, and the learning rates of generator and latents for them.
iters, lr, latent_lr = 2, 5e-3, 0.015

default_hooks = dict(
    synthesis=dict(
        init_iters=iters,
        synthesizer=dict(
            iters=iters,
            optimizer=dict(lr=lr),
            latent_lr=latent_lr,
            meta=dict(optimizer=dict(lr=lr * iters)),
        ),
    )
)
