# DFQ's synthesis, as dfq_cifar10_wrn402_wrn161.sh of github zju-vipa/CMI has
# it. A config takes it up by
#   synthesizer=dict(
#       losses=dict(_delete_=True, **_base_.dfq_losses), **_base_.dfq
#   )
# of the synthesis hook, and sets num_images.
dfq_losses = dict(
    loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
    loss_adv=dict(type='AdversarialLoss', loss_weight=1),
)
dfq = dict(
    iters=1,
    # The authors' large generator: 4,581,955 weights, drawn as torch does.
    generator=dict(first_channels=256, init_cfg=None),
    # Weights, statistics and optimizer last.
    meta=dict(type='LastingGenerator'),
    optimizer_lasts=True,
    # Each step has new latents, which are not trained, and so have the images
    # of the student. No class is requested.
    latents='fresh',
    labels='none',
    keep='last',
    augment=None,
    # MMRazor's losses on the teacher's logits.
    distiller=dict(
        type='ConfigurableDistiller',
        teacher_recorders=dict(
            logits=dict(type='ModuleOutputs', source='teacher.head')
        ),
        distill_losses=dict(
            # The teacher should be confident on every image ...
            loss_oh=dict(type='OnehotLikeLoss', loss_weight=1),
            # ... with balanced classes. 46.0517 is a weight of 20 with
            # natural logarithms. Processes make separate rounds, so nothing
            # is gathered.
            loss_balance=dict(
                type='InformationEntropyLoss',
                loss_weight=46.0517,
                gather=False,
            ),
        ),
        loss_forward_mappings=dict(
            loss_oh=dict(preds_T=dict(from_student=False, recorder='logits')),
            loss_balance=dict(
                preds_T=dict(from_student=False, recorder='logits')
            ),
        ),
    ),
)
