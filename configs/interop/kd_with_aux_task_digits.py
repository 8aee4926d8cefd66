# Shows: CSD's auxiliary head as an additional task of the student in MMRazor's
# SingleTeacherDistill, on real data. There is no hook and no bank: the student
# is a classifier with a second loss.
_base_ = '../teachers/resnet_digits.py'

model = dict(
    _delete_=True,
    _scope_='mmrazor',
    type='SingleTeacherDistill',
    data_preprocessor=dict(
        type='mmpretrain.ClsDataPreprocessor', **_base_.data_preprocessor
    ),
    architecture=dict(
        _base_.student_net,
        type='mmrazor.SelfSupervisedClassifier',
        aux_head=dict(
            type='mmrazor.SelfSupervisedAuxHead',
            num_classes=10,
            in_channels=32,
            task=dict(type='mmrazor.RotationTask'),
            # The task is learnt here. It need not be bounded, as it is not a
            # term of synthesis.
            normalize=False,
        ),
        aux_weight=0.5,
    ),
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
