# CSD as its authors ran it. arXiv 2307.04542; the numbers are those of their
# scripts and code, github luoshiya/CSD. A config that inherits this one adds
# a data set (see csd_cifar10.py) and the networks.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# ---- Frequently modified -------------------------------------------------
# Every number can be set on the command line, for instance
#   --cfg-options default_hooks.synthesis.init_rounds=40
# All images are (3, img_size, img_size).
img_size = 32
# Epochs; before each, one round of synthesis looks at the student anew.
max_epochs = 100
# Student steps an epoch, and images a step (of each process).
steps, batch_size = 2000, 128

synthesis = dict(
    type='mmrazor.SynthesisHook',
    # Rounds of each process before every epoch.
    rounds=1,
    # Rounds before training, all processes together: 400 x 200 images.
    init_rounds=400,
    # Steps of each of these.
    init_iters=500,
    # How often a round that diverges is tried again, with another seed.
    max_retries=2,
    synthesizer=dict(
        type='ImageSynthesizer',
        # Images a round.
        batch_size=200,
        # Steps a round.
        iters=200,
        optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 0.999)),
        generator=dict(
            type='CSDGenerator',
            img_size=img_size,
            latent_dim=256,
            hidden_channels=64,
        ),
        # What the images are optimised for. A weight of 0 turns a term off.
        losses=dict(
            # The teacher sees the class that was asked for ...
            loss_oh=dict(type='OneHotLoss', loss_weight=1),
            # ... in images like those that it was trained on ...
            loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
            # ... which the student does not understand yet.
            loss_csd=dict(type='CSDLoss', loss_weight=10),
        ),
        # Between generator and networks, drawn per image.
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
        # What the bank's images go through before each student step.
        augment=dict(type='RandomCropFlip', padding=4),
    ),
    # architecture: the student.
    # teachers: dict(teacher=dict(build_cfg=..., ckpt_path=...)).
    aux_head=dict(
        type='SelfSupervisedAuxHead',
        # The transforms to tell apart. Others: ChannelPermutationTask,
        # RotationPermutationTask, FlipTask, QuartersTask.
        task=dict(type='RotationTask'),
        # Logits of length 1 keep the CSD term bounded.
        normalize=True,
    ),
    # Cross entropy of the student on the bank's labels.
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
        # Brings the student's last map to the teacher's shape; the channels
        # are read off the networks.
        connectors=dict(align=dict(type='AlignConnector')),
        distill_losses=dict(
            loss_kd=dict(type='KLDivergence', tau=20, loss_weight=1),
            # Mean squared error of the last feature maps.
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
# 'architecture' is the student with its connector.
sgd = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
optim_wrapper = dict(
    constructor='mmrazor.DistillationOptimWrapperConstructor',
    architecture=sgd,
    aux_head=sgd,
)
# The student's rate falls until the last epoch, the head's stays.
param_scheduler = dict(
    architecture=dict(type='CosineAnnealingLR', by_epoch=True),
    aux_head=[],
)
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# For --auto-scale-lr: images a step of all processes at these rates.
auto_scale_lr = dict(base_batch_size=128, enable=False)

# No real image is read for training: batches come from the bank.
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    # Starts from another run's images with init_bank='work_dirs/.../bank'.
    dataset=dict(type='mmrazor.ImageBank', storage='host', init_bank=None),
    sampler=dict(type='mmrazor.BankSampler', num_samples=steps * batch_size),
    collate_fn=dict(type='bank_collate'),
)

# ---- Run -----------------------------------------------------------------
default_hooks = dict(
    # Reads the losses of every model.log_interval steps off the device.
    runtime_info=dict(type='mmrazor.LossReportHook'),
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(
        type='mmrazor.DurableCheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='auto',
    ),
    # Stops a run whose weights are no numbers any more.
    divergence=dict(type='mmrazor.DivergenceHook'),
    synthesis=synthesis,
    # Leaves the best student in the work dir, as mmpretrain loads it.
    export=dict(type='mmrazor.ExportStudentHook'),
)
# It is above; a config that changes it there is not to show two of them.
del synthesis
# Distributed runs: student and head take turns within a step.
model_wrapper_cfg = dict(
    type='mmrazor.CSDDistributedDataParallel', find_unused_parameters=True
)
# A run and its resumption draw the same random numbers.
randomness = dict(seed=0)
