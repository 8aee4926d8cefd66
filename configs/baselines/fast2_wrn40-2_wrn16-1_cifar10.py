# Fast-Datafree with 2 steps a round, "Fast-2"; see Fast-10's config.
_base_ = './fast10_wrn40-2_wrn16-1_cifar10.py'

# Steps a round, and the rates of generator and latents that go with them.
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
