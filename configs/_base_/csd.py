# CSD (arXiv 2307.04542) with the numbers of the authors' scripts and code,
# github luoshiya/CSD. A config that inherits this one adds a data set, see
# csd_cifar10.py, and a pair of networks, see pairs/.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# ---- Frequently modified -------------------------------------------------
# Each number below can be overridden on the command line by its dotted name:
#   --cfg-options default_hooks.synthesis.init_rounds=40
# The four variables here cannot, because MMEngine uses them only while it
# reads this file. The option to use instead stands beside each.
#
# Images are (3, img_size, img_size), and the generator makes such.
# Option: model.image_shape, (channels, height, width)
img_size = 32
# Epochs, with one round of synthesis before each. A round optimises one batch
# of synthetic images against the current student.
# Option: train_cfg.max_epochs
max_epochs = 100
# Student steps per epoch, and images per step in each process.
# Options: train_dataloader.sampler.num_samples, which is steps * batch_size,
# and train_dataloader.batch_size
steps, batch_size = 2000, 128

synthesis = dict(
    type='mmrazor.SynthesisHook',
    # Rounds per process before every epoch.
    rounds=1,
    # Rounds before training, in all processes together: 400 x 200 images.
    init_rounds=400,
    # Steps in each of these initial rounds.
    init_iters=500,
    # How often a round that diverges is retried with another seed.
    max_retries=2,
    synthesizer=dict(
        type='ImageSynthesizer',
        # Images per round.
        batch_size=200,
        # Steps per round.
        iters=200,
        optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 0.999)),
        generator=dict(
            type='CSDGenerator',
            latent_dim=256,
            hidden_channels=64,
        ),
        # The objective of synthesis. A weight of 0 turns a term off.
        losses=dict(
            # The teacher predicts the requested class ...
            loss_oh=dict(type='OneHotLoss', loss_weight=1),
            # ... for images whose BN statistics match its training data ...
            loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
            # ... and on which the auxiliary task is still hard.
            loss_csd=dict(type='CSDLoss', loss_weight=10),
        ),
        # Applied between generator and networks, sampled per image.
        augment=dict(type='RandomCropFlip', padding=4),
    ),
)

# ---- Model ---------------------------------------------------------------
model = dict(
    _scope_='mmrazor',
    type='CSDDistillation',
    image_shape=(3, img_size, img_size),
    data_preprocessor=dict(
        type='BankDataPreprocessor',
        # Applied to the images of the bank before each student step.
        augment=dict(type='RandomCropFlip', padding=4),
    ),
    # architecture: the student.
    # teachers: dict(teacher=dict(build_cfg=..., ckpt_path=...)).
    aux_head=dict(
        type='SelfSupervisedAuxHead',
        # The pretext task, i.e. which transforms to classify. Others:
        # ChannelPermutationTask, RotationPermutationTask, FlipTask,
        # HalfShiftTask.
        task=dict(type='RotationTask'),
        # Logits of unit length keep the CSD term bounded.
        normalize=True,
    ),
    # Cross entropy between the student and the labels of the bank.
    student_loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
    # What the student learns from the teacher.
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            feature=dict(type='FeatureMap', source='backbone'),
            logits=dict(type='ModuleOutputs', source='head'),
        ),
        teacher_recorders=dict(
            feature=dict(type='FeatureMap', source='teacher.backbone'),
            logits=dict(type='ModuleOutputs', source='teacher.head'),
        ),
        # Maps the student's last feature to the shape of the teacher's. The
        # channels are inferred from the networks; mid_channel sets those in
        # between. student_recorders.feature=None turns the term off.
        connectors=dict(align=dict(type='AlignConnector')),
        distill_losses=dict(
            loss_kd=dict(type='KLDivergence', tau=20, loss_weight=1),
            # Mean squared error between the last feature maps.
            loss_feature=dict(
                type='L2Loss',
                normalize=False,
                div_element=True,
                loss_weight=30,
            ),
        ),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits'),
            ),
            loss_feature=dict(
                s_feature=dict(
                    from_student=True,
                    recorder='feature',
                    connector='align',
                ),
                t_feature=dict(from_student=False, recorder='feature'),
            ),
        ),
    ),
)

# ---- Training ------------------------------------------------------------
# 'architecture' is the student with its connectors.
sgd = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
optim_wrapper = dict(
    constructor='mmrazor.DistillationOptimWrapperConstructor',
    architecture=sgd,
    aux_head=sgd,
)
# The student's learning rate decays until the last epoch, the auxiliary
# head's is constant.
param_scheduler = dict(
    architecture=dict(type='CosineAnnealingLR', by_epoch=True),
    aux_head=[],
)
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# For --auto-scale-lr: the total batch size that these learning rates are for.
auto_scale_lr = dict(base_batch_size=128, enable=False)

# Batches come from the image bank. Training never opens a real image.
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    # init_bank='work_dirs/.../bank' starts from the images of another run.
    # held_out=0.1 never draws a tenth of each round.
    dataset=dict(type='mmrazor.ImageBank', storage='host', init_bank=None),
    sampler=dict(type='mmrazor.BankSampler', num_samples=steps * batch_size),
    collate_fn=dict(type='bank_collate'),
)

# ---- Run -----------------------------------------------------------------
default_hooks = dict(
    # Copies the losses from the device every model.log_interval steps.
    runtime_info=dict(type='mmrazor.LossReportHook'),
    # The remaining time in the log is that of the whole run.
    timer=dict(type='mmrazor.RunTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(
        type='mmrazor.DurableCheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='auto',
    ),
    # Stops a run whose weights became NaN or Inf.
    divergence=dict(type='mmrazor.DivergenceHook'),
    synthesis=synthesis,
    # Without validation, compares student and teacher on images that
    # train_dataloader.dataset.held_out keeps out of training, and chooses the
    # student by its rule, see docs/label_free.md.
    agreement=dict(type='mmrazor.AgreementHook'),
    # Logs how often the auxiliary head is right on real images.
    aux_probe=dict(type='mmrazor.AuxProbeHook'),
    # Writes the best student to the work dir, as a state dict of its own
    # class and as an mmpretrain model; onnx=True writes it for ONNX as well.
    export=dict(type='mmrazor.ExportStudentHook'),
    # Warns when accuracy or recognition stalls, with what to try.
    stall=dict(type='mmrazor.StallHook'),
    # Writes report.html to the work dir, after each epoch.
    report=dict(type='mmrazor.ReportHook'),
)
# It is in default_hooks now. A config that changes it there must not keep an
# outdated copy here.
del synthesis
# For distributed runs: student and head take turns within a step.
model_wrapper_cfg = dict(
    type='mmrazor.CSDDistributedDataParallel', find_unused_parameters=True
)
# The seed of every random number in a run.
randomness = dict(seed=0)
