# A teacher and a student of anyone's own, as distill() trains them, on digits
# of 16x16 pixels. See docs/label_free.md; the list there has teachers.
_base_ = '../../../configs/csd/csd_digits16.py'

net = dict(
    _delete_=True,
    type='mmrazor.TorchClassifier',
    factory='docs/results/label_free/net.py:Net',
)
epochs, steps, batch_size = 6, 100, 128
augment = dict(padding=1)

default_hooks = dict(
    synthesis=dict(
        rounds=4,
        init_rounds=10,
        init_iters=10,
        synthesizer=dict(
            batch_size=128,
            iters=10,
            # It takes the size of the images from the model.
            generator=dict(
                _delete_=True,
                type='CSDGenerator',
                latent_dim=64,
                hidden_channels=32,
            ),
            meta=dict(
                type='MetaGenerator',
                rule='reptile',
                optimizer=dict(type='SGD', lr=1),
            ),
            augment=augment,
        ),
    )
)
model = dict(
    data_preprocessor=dict(augment=augment),
    architecture=dict(**net, width=8),
    teachers=dict(teacher=dict(build_cfg=dict(**net, width=32))),
    distiller=dict(
        student_recorders=dict(feature=None, logits=dict(source='net.fc')),
        teacher_recorders=dict(
            feature=None, logits=dict(source='teacher.net.fc')
        ),
    ),
)
train_cfg = dict(max_epochs=epochs)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(held_out=0.1),
    sampler=dict(num_samples=steps * batch_size),
)
