# CSD with a generator that continues from round to round, which needs less
# synthesis for the same accuracy (docs/speed.md). There are more and shorter
# rounds, so the bank gets more images from fewer steps. The paper's schedule
# re-initialises the generator in each round instead.
_base_ = './csd_quickstart_digits.py'

default_hooks = dict(
    synthesis=dict(
        # Rounds before every epoch, and before training starts.
        rounds=5,
        init_rounds=25,
        # Steps in each initial round.
        init_iters=10,
        synthesizer=dict(
            iters=10,
            # Each round starts from the generator of the previous one. The
            # latents are new, so the images are new.
            meta=dict(
                type='MetaGenerator',
                rule='reptile',
                optimizer=dict(type='SGD', lr=1),
            ),
        ),
    )
)
