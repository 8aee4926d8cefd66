# What tools/quickstart.sh trains: csd_quickstart_digits.py, which has the
# paper's proportions, at a part of its cost. All terms are on. What is
# different:
# - One generator, half as wide, goes on through the run. Each step draws new
#   latents, and its images join the bank with what the teacher said of them,
#   so student steps need no pass of the teacher.
# - No class is requested: the teacher has to be confident, whatever class it
#   sees, and the classes of a batch have to be balanced.
# - Synthesis and auxiliary head look at one random rotation of each image.
# - The layers that align the feature maps are narrow. By default they cost
#   several times what the student does.
# Train the teacher first, or run tools/quickstart.sh, which does both:
#   python tools/train.py configs/teachers/resnet-onecycle_digits.py
_base_ = [
    './csd_quickstart_digits.py',
    '../_base_/lasting_generator.py',
]

# ---- Frequently modified -------------------------------------------------
max_epochs = 8
steps, batch_size = 80, 128

default_hooks = dict(
    synthesis=dict(
        # Rounds before training, and the steps of a round. All its images are
        # kept: 20 * 64, with the teacher's feature maps.
        init_rounds=5,
        init_iters=20,
        target_maps=True,
        synthesizer=dict(
            batch_size=64,
            iters=20,
            **_base_.lasting_generator,
        ),
    ),
)

model = dict(
    # The images of the bank are seen as the teacher saw them.
    data_preprocessor=dict(augment=None),
    # Its weights are drawn as torch does, which longer logits need.
    aux_head=dict(scale=10, views_per_image=1, init_cfg=None),
    distiller=dict(
        connectors=dict(align=dict(mid_channel=32)),
        distill_losses=dict(loss_kd=dict(tau=4)),
    ),
    teachers=dict(
        teacher=dict(ckpt_path='work_dirs/resnet-onecycle_digits/epoch_10.pth')
    ),
)

optim_wrapper = dict(
    architecture=dict(optimizer=dict(weight_decay=5e-4, nesterov=True)),
)
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(num_samples=steps * batch_size)
)
