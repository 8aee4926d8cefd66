# Shows: synthesis hook and image bank with an ordinary distillation config of
# MMRazor. SingleTeacherDistill is unchanged and trains on batches of the bank,
# which bank_collate returns in mmpretrain's format. Its student is used for
# adversarial synthesis.
_base_ = '../baselines/adversarial_digits.py'

model = dict(
    _delete_=True,
    _scope_='mmrazor',
    type='SingleTeacherDistill',
    data_preprocessor=dict(
        type='BankDataPreprocessor',
        augment=_base_.augment,
        **_base_.data_preprocessor,
    ),
    architecture=_base_.student_net,
    teacher=_base_.teacher_net,
    teacher_ckpt='work_dirs/resnet_digits/epoch_30.pth',
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            fc=dict(type='ModuleOutputs', source='head.fc')
        ),
        teacher_recorders=dict(
            fc=dict(type='ModuleOutputs', source='head.fc')
        ),
        distill_losses=dict(
            loss_kl=dict(type='KLDivergence', tau=4, loss_weight=1)
        ),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='fc'),
                preds_T=dict(from_student=False, recorder='fc'),
            )
        ),
    ),
)
# MMRazor's optimizer, instead of separate ones for student and head.
optim_wrapper = dict(_delete_=True, **_base_.sgd)
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=True)
train_dataloader = dict(collate_fn=dict(data_samples=True))
model_wrapper_cfg = dict(_delete_=True, type='MMDistributedDataParallel')
