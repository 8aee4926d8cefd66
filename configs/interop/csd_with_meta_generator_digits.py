# Shows: Fast-Datafree's meta-generator in CSD. Rounds of 10 steps start from
# a learnt initialisation, instead of rounds of 50 steps from new weights: five
# times as many images for the same number of steps.
_base_ = '../csd/csd_quickstart_digits.py'

# ---- Frequently modified -------------------------------------------------
iters, lr = 10, 2e-3

default_hooks = dict(
    synthesis=dict(
        init_rounds=1000 // iters,
        init_iters=iters,
        rounds=50 // iters,
        synthesizer=dict(
            iters=iters,
            optimizer=dict(lr=lr),
            latent_lr=0.01,
            meta=dict(
                type='MetaGenerator',
                rule='fomaml',
                optimizer=dict(type='Adam', lr=lr * iters, betas=(0.5, 0.999)),
            ),
        ),
    )
)
