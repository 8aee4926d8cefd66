# Fast-Datafree with 5 steps per round, "Fast-5". See Fast-10's config.
_base_ = './fast10_wrn40-2_wrn16-1_cifar10.py'

# Steps per round, and the learning rates of generator and latents for them.
iters, lr, latent_lr = 5, 3e-3, 0.01

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
