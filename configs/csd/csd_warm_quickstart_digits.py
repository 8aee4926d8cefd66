# CSD with a generator that goes on from round to round in place of a new one
# each: accuracy in less synthesis (docs/speed.md). The rounds are short and
# there are more of them, so that the bank gets as many images from fewer
# steps. Not the paper's way: its schedule draws the generator anew.
_base_ = './csd_quickstart_digits.py'

default_hooks = dict(
    synthesis=dict(
        # Rounds before every epoch, and before training.
        rounds=5,
        init_rounds=25,
        # Steps of each of them.
        init_iters=10,
        synthesizer=dict(
            iters=10,
            # Each round's generator is where the next one starts. Latents
            # are new, so there are new images.
            meta=dict(
                type='MetaGenerator',
                rule='reptile',
                optimizer=dict(type='SGD', lr=1),
            ),
        ),
    )
)
