# Synthesis by one generator that goes on through the run, in place of a new
# one for each round. Each step draws new latents, and its images join the bank
# with the teacher's outputs for them. A config takes it up by
#   synthesizer=dict(batch_size=..., iters=..., **_base_.lasting_generator)
# of the synthesis hook, and also sets
# - no `losses` or `distiller` of the synthesizer, which come with it: they
#   cannot stand beside the ** again;
# - model.data_preprocessor.augment=None: the teacher said it of the images as
#   they are;
# - target_maps=True of the synthesis hook, which keeps the teacher's feature
#   maps for loss_feature, or model.distiller.student_recorders.feature=None,
#   which turns that loss off;
# - model.aux_head=dict(scale=10, init_cfg=None), as the weight of loss_csd
#   below is for such logits.
lasting_generator = dict(
    optimizer=dict(lr=2e-3),
    # Half as wide as the paper's, drawn as torch does.
    generator=dict(hidden_channels=32, init_cfg=None),
    meta=dict(type='LastingGenerator'),
    optimizer_lasts=True,
    latents='fresh',
    labels='teacher',
    keep='all',
    keep_targets=True,
    # The term looks at one random rotation of each image, not all 4.
    views_per_image=1,
    # Logits of length 10 give the term ten times the gradient.
    losses=dict(loss_csd=dict(loss_weight=1)),
    distiller=dict(
        type='ConfigurableDistiller',
        teacher_recorders=dict(
            logits=dict(type='ModuleOutputs', source='teacher.head')
        ),
        # DAFL's: 11.5129 is its weight of 5 with natural logarithms.
        distill_losses=dict(
            loss_balance=dict(
                type='InformationEntropyLoss',
                loss_weight=11.5129,
                gather=False,
            ),
        ),
        loss_forward_mappings=dict(
            loss_balance=dict(
                preds_T=dict(from_student=False, recorder='logits')
            ),
        ),
    ),
)
