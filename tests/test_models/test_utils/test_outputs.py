# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks that return more than their logits."""

import dataclasses
from collections import OrderedDict, namedtuple
from copy import deepcopy

import helpers
import pytest
import torch
import torch.nn as nn
from helpers import build, network
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper

from csd_mmrazor.models.utils import (
    as_in_training,
    check_order,
    check_repeats,
    full_precision,
    logits_of,
    pooled_features,
)
from csd_mmrazor.models.utils.outputs import normalised_outputs

Named = namedtuple('Named', ['aux', 'logits'])


@dataclasses.dataclass(frozen=True)
class Data:
    aux: torch.Tensor
    logits: torch.Tensor


class ModelOutput(OrderedDict):
    """Keys and attributes, as transformers has it."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


def model_output(logits, aux):
    output = ModelOutput()
    output['loss'] = None
    output['aux'], output['logits'] = aux, logits
    return output


KINDS = dict(
    named_tuple=lambda logits, aux: Named(aux, logits),
    plain_tuple=lambda logits, aux: (logits, aux),
    plain_list=lambda logits, aux: [logits, aux],
    plain_dict=lambda logits, aux: dict(aux=aux, logits=logits),
    dataclass=lambda logits, aux: Data(aux, logits),
    model_output=model_output,
    nested=lambda logits, aux: (dict(logits=logits), aux),
)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('classes', [2, 10, 1000])
def test_outputs_that_are_no_logits(classes, dtype):
    logits = 5 * torch.randn(8, classes)
    found = {
        name: normalised_outputs(values.to(dtype))
        for name, values in dict(
            logits=logits,
            shares=logits.softmax(1),
            logs=logits.log_softmax(1),
            sigmoid=logits.sigmoid(),
            # One row, or all but one, may be so by chance.
            mixed=torch.cat([logits.softmax(1), logits[:1].abs()]),
            negative=logits - logits.mean(1, keepdim=True) + 1 / classes,
            zeros=0 * logits,
        ).items()
    }
    assert found.pop('shares') == 'probabilities'
    assert found.pop('logs') == 'log-probabilities'
    assert not any(found.values())
    last = logits.to(dtype).requires_grad_()
    assert normalised_outputs(last.sigmoid()) == 'sigmoids'
    assert not normalised_outputs(9 * last.sigmoid())


def test_passes_that_differ():
    logits = torch.randn(4, 3)
    check_repeats(logits, logits * (1 + 1e-5), 'it')
    with pytest.raises(ValueError, match='^it says something else'):
        check_repeats(logits, logits + 0.1, 'it')


class Net(nn.Module):
    """A classifier with an auxiliary head, which has a BN layer."""

    def __init__(self, kind=None, always=False, channels=1):
        super().__init__()
        self.kind, self.always = kind, always
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.fc = nn.Linear(8, 10)
        # After the last layer, with which it is not to be confused.
        self.aux = nn.Sequential(
            nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 10)
        )

    def forward(self, inputs):
        maps = self.body(inputs)
        logits = self.fc(maps.mean((2, 3)))
        if self.kind is None or not (self.training or self.always):
            return logits
        return KINDS[self.kind](logits, self.aux(maps))


class Pooled(nn.Sequential):
    """A classifier for images of any size."""

    def __init__(self, channels):
        super().__init__(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)
        )


class Model(BaseModel):
    """A user's own model, which hands on what its network returns."""

    def __init__(self, **kwargs):
        super().__init__(dict(type='mmpretrain.ClsDataPreprocessor'))
        self.net = Net(**kwargs)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.net(inputs)

    def extract_feat(self, inputs, stage='pre_logits'):
        return self.net.body(inputs).mean((2, 3))


def algorithm(teacher_file, architecture, teacher=None, **kwargs):
    teacher = teacher or network(base_channels=8)
    preprocessor = dict(type='BankDataPreprocessor', mean=[77.9], std=[95.9])
    cfg = dict(
        type='CSDDistillation',
        architecture=architecture,
        teachers=dict(
            teacher=dict(build_cfg=teacher, ckpt_path=str(teacher_file))
        ),
        image_shape=(1, 8, 8),
        data_preprocessor=preprocessor,
    )
    return build(dict(cfg, **kwargs))


def trained(model):
    """Losses and weights after two steps."""
    torch.manual_seed(1)
    optimizer = OptimWrapper(torch.optim.SGD(model.student.parameters(), 0.1))
    model.train()
    losses = [
        model.train_step(
            dict(
                inputs=torch.randint(256, (8, 1, 8, 8), dtype=torch.uint8),
                labels=torch.randint(10, (8,)),
            ),
            optimizer,
        )['loss']
        for _ in range(2)
    ]
    return losses, {
        name: value
        for name, value in model.student.state_dict().items()
        if '.aux.' not in name
    }


def odd(kind, way, always):
    if way == 'own':
        return dict(type=Model, kind=kind, always=always)
    return dict(
        type='TorchClassifier',
        factory='test_outputs.Net',
        kind=kind,
        always=always,
    )


@pytest.mark.parametrize('always', [False, True])
@pytest.mark.parametrize('way', ['own', 'TorchClassifier'])
@pytest.mark.parametrize('kind', KINDS)
def test_students_that_return_more_than_logits(
    teacher_file, kind, way, always
):
    """They learn what their twin learns that returns nothing else."""
    student = algorithm(teacher_file, odd(kind, way, always))
    twin = algorithm(teacher_file, odd(None, way, always))
    twin.student.load_state_dict(student.student.state_dict())
    (losses, weights), (expected, other) = trained(student), trained(twin)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(weights, other)


def synthesizer(**losses):
    return helpers.synthesizer(losses=losses, batch_size=8, iters=2)


@pytest.mark.parametrize('always', [False, True])
@pytest.mark.parametrize('way', ['own', 'TorchClassifier'])
@pytest.mark.parametrize('kind', KINDS)
def test_teachers_and_students_in_synthesis(tmp_path, kind, way, always):
    """The images are those of networks that return logits alone."""
    from csd_mmrazor.models.synthesizers import (
        Networks,
        diversity_metrics,
        recognition_metrics,
    )

    made = []
    for name in (kind, None):
        torch.manual_seed(2)
        teacher = build(odd(name, way, always)).eval()
        file = tmp_path / f'{name}.pth'
        torch.save(teacher.state_dict(), file)
        head = dict(type='SelfSupervisedAuxHead')
        model = algorithm(
            file,
            odd(name, way, always),
            teacher=odd(name, way, always),
            aux_head=head,
        )
        networks = Networks.from_algorithm(model)
        parts = synthesizer(
            loss_oh=dict(type='OneHotLoss'),
            loss_adv=dict(type='AdversarialLoss'),
            loss_csd=dict(type='CSDLoss'),
        )
        assert parts.check(networks) == (10, (1, 8, 8))
        batch = parts.synthesize(networks, 10, seed=3)
        images, labels = batch.images, batch.labels
        made.append(
            (
                images,
                batch.terms,
                recognition_metrics(networks, images, labels),
                diversity_metrics(networks, images, labels, 10),
            )
        )
    assert torch.equal(made[0][0], made[1][0])
    assert made[0][1:] == made[1][1:]


def test_bn_layers_that_do_not_run_are_not_counted(tmp_path):
    from csd_mmrazor.models.synthesizers import Networks

    teacher = odd('named_tuple', 'TorchClassifier', False)
    torch.save(build(teacher).state_dict(), tmp_path / 'teacher.pth')
    model = algorithm(tmp_path / 'teacher.pth', network(), teacher)
    networks = Networks.from_algorithm(model)
    parts = synthesizer(
        loss_bn=dict(type='BNStatisticsLoss'),
        loss_cr=dict(type='ContrastiveLoss'),
    )
    parts.check(networks)
    assert parts.synthesize(networks, 10, seed=0).terms['loss_cr'] > 0
    assert parts.widths == [8]
    # One whose only BN layers are in heads that do not run has none.
    model.teachers['teacher'].net.body[1] = nn.Identity()
    with pytest.raises(ValueError, match='teacher 0 .* no BN layer'):
        parts.check(networks)


def test_the_feature_is_what_makes_the_logits():
    for always in (False, True):
        model = build(odd('named_tuple', 'TorchClassifier', always)).train()
        before = deepcopy(model.state_dict())
        model._find_last_layer(torch.randn(4, 1, 8, 8))
        assert all(
            torch.equal(before[name], value)
            for name, value in model.state_dict().items()
        )
        inputs = torch.randn(4, 1, 8, 8)
        features = pooled_features(model.eval(), inputs)
        logits = logits_of(model.net(inputs))
        torch.testing.assert_close(model.net.fc(features), logits)


@pytest.mark.parametrize(
    'output, described',
    [
        (dict(out=torch.zeros(2, 10)), 'a dict with out'),
        ([torch.zeros(2, 8, 4, 4)], r'a list of \(2, 8, 4, 4\)'),
        (torch.zeros(2, 10, 1, 1), r'a Tensor of shape \(2, 10, 1, 1\)'),
        ((), 'a tuple of nothing'),
        (None, 'a NoneType'),
        ('logits', 'a str'),
        (model_output(None, None), 'a ModelOutput with loss, aux, logits'),
    ],
)
@pytest.mark.parametrize('role', ['student', 'student in train mode'])
def test_networks_without_logits_are_refused(
    teacher_file, monkeypatch, output, described, role
):
    forward = Model.forward

    def forward_oddly(self, inputs, data_samples=None, mode='tensor'):
        if role == 'student' or self.training:
            return output
        return forward(self, inputs)

    monkeypatch.setattr(Model, 'forward', forward_oddly)
    message = rf'^{role} \(Model\): .* but it returned {described}'
    with pytest.raises(ValueError, match=message):
        algorithm(teacher_file, dict(type=Model))


class Several(nn.Module):
    """Returns features, logits, and what is made from them."""

    def __init__(self, order):
        super().__init__()
        self.order = order
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 5)
        self.aux = nn.Linear(4, 5)

    def forward(self, inputs):
        features = self.conv(inputs).mean((2, 3))
        logits = self.fc(features)
        made = dict(
            f=features,
            n=nn.functional.normalize(features),
            m=inputs,
            l=logits,
            a=self.aux(features),
            p=logits.softmax(1),
            t=logits / 2,
            i=[features, [logits]],
            d=dict(y=logits),
        )
        return [made[each] for each in self.order]


@pytest.mark.parametrize('is_frozen', [False, True])
@pytest.mark.parametrize(
    'order, place',
    [
        *(('fl', 1), ('nl', 1), ('fml', 2), ('nft', 2), ('fi', 1), ('fd', 1)),
        # Logits first, with whatever else.
        *((each, None) for each in ('lf', 'la', 'al', 'lp', 'lt', 'l', 'li')),
    ],
)
def test_features_before_logits(order, place, is_frozen):
    model = Several(order).requires_grad_(not is_frozen)
    output = model(torch.randn(2, 1, 8, 8).requires_grad_())
    if place is None:
        check_order(output, 'net')
        return
    listed = r'a list of \(2, 4\), '
    with pytest.raises(ValueError, match=rf'^net .* {listed}.* \[{place}\]'):
        check_order(output, 'net')


class Exits(nn.Module):
    """Classifiers after one layer, two and so on, with heads of ``head``."""

    def __init__(self, order, head=1):
        super().__init__()
        self.order = order
        self.body = nn.ModuleList(nn.Conv2d(1, 1, 3) for _ in range(4))
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Flatten(),
                nn.LazyLinear(5),
                *(nn.Linear(5, 5) for _ in range(head - 1)),
            )
            for _ in self.body
        )

    def forward(self, x):
        found = []
        for layer, head in zip(self.body, self.heads):
            x = layer(x)
            found.append(head(x))
        return [found[each] for each in self.order]


@pytest.mark.parametrize(
    'order, head, place',
    [
        ((0, 1), 1, 1),
        ((0, 1, 2, 3), 1, 3),
        ((1, 3, 0), 1, 1),
        # The deepest first, or about as deep, as an auxiliary head may be.
        ((3, 2, 1, 0), 1, None),
        ((2, 3), 1, None),
        ((0, 1), 3, None),
    ],
)
def test_exits_before_the_last(order, head, place):
    output = Exits(order, head)(torch.randn(2, 1, 12, 12).requires_grad_())
    if place is None:
        check_order(output, 'net')
        return
    message = (
        rf'^net returns .* {order[0] + 2} layers make it, and '
        rf'{max(order) + 2} make \[{place}\], as the last of several exits'
    )
    with pytest.raises(ValueError, match=message):
        check_order(output, 'net')


@pytest.mark.parametrize('role', ['student', 'student in train mode'])
def test_features_before_logits_in_a_config(teacher_file, monkeypatch, role):
    forward = Model.forward

    def forward_oddly(self, inputs, data_samples=None, mode='tensor'):
        logits = logits_of(forward(self, inputs))
        if role == 'student' or self.training:
            return logits, logits @ torch.ones(10, 10)
        return logits

    monkeypatch.setattr(Model, 'forward', forward_oddly)
    message = rf'^{role} \(Model\) returns .* further layer makes \[1\] from'
    with pytest.raises(ValueError, match=message):
        algorithm(teacher_file, dict(type=Model))


def test_googlenet(tmp_path):
    """As student and as teacher; its heads are named as torchvision does."""
    from csd_mmrazor.models.synthesizers import Networks

    net = dict(
        type='TorchClassifier',
        factory='torchvision.models.googlenet',
        num_classes=10,
        aux_logits=True,
        init_weights=False,
    )
    torch.save(build(net).state_dict(), tmp_path / 'teacher.pth')
    fc = dict(type='ModuleOutputs')
    distiller = dict(
        type='ConfigurableDistiller',
        student_recorders=dict(fc=dict(fc, source='net.fc')),
        teacher_recorders=dict(fc=dict(fc, source='teacher.net.fc')),
        distill_losses=dict(loss_kd=dict(type='KLDivergence')),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(recorder='fc', from_student=True),
                preds_T=dict(recorder='fc', from_student=False),
            )
        ),
    )
    model = algorithm(
        tmp_path / 'teacher.pth',
        net,
        net,
        image_shape=(3, 32, 32),
        distiller=distiller,
    ).train()
    inputs = torch.randn(2, 3, 32, 32)
    assert type(model.student.net(inputs)).__name__ == 'GoogLeNetOutputs'
    losses = model.loss(inputs, torch.tensor([1, 2]))
    assert losses['student.loss'] > 0
    sum(losses.values()).backward()
    networks = Networks.from_algorithm(model)
    parts = synthesizer(loss_cr=dict(type='ContrastiveLoss'))
    parts.generator = build(
        dict(type='CSDGenerator', img_size=32, latent_dim=6, hidden_channels=4)
    )
    parts.prepare(networks)
    # One stem of three, nine blocks of six, and none of the two heads'.
    assert len(parts.widths) == 57


def test_inception_needs_larger_images_in_training(tmp_path):
    """It is tried in train mode before anything else begins."""
    net = dict(
        type='TorchClassifier',
        factory='torchvision.models.inception_v3',
        num_classes=10,
        init_weights=False,
    )
    model = build(net)
    with torch.no_grad():
        assert model.train()(torch.randn(2, 3, 299, 299)).shape == (2, 10)
        assert model.eval()(torch.randn(2, 3, 107, 107)).shape == (2, 10)
    teacher = dict(
        type='TorchClassifier', factory='test_outputs.Pooled', channels=3
    )
    torch.save(build(teacher).state_dict(), tmp_path / 'teacher.pth')
    with pytest.raises(
        ValueError,
        match=r'^student in train mode \(TorchClassifier\) does not take '
        r'images of image_shape=\(3, 107, 107\)',
    ):
        algorithm(
            tmp_path / 'teacher.pth',
            net,
            teacher,
            image_shape=(3, 107, 107),
            data_preprocessor=None,
        )


def test_a_try_leaves_nothing():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[1].eval()
    before = deepcopy(model.state_dict())
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with as_in_training(model):
        output = model(torch.randn(8, 4))
        assert model[1].training and not output.requires_grad
    assert torch.equal(torch.rand(1), expected)
    assert [m.training for m in model] == [True, False, True]
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value), name


@pytest.mark.parametrize('kind', KINDS)
def test_full_precision_keeps_the_type(kind):
    logits, aux = torch.rand(2, 3), torch.rand(2, 3)
    given = KINDS[kind](logits.bfloat16(), aux.half())
    found = full_precision(given)
    assert type(found) is type(given)
    torch.testing.assert_close(logits_of(found), logits.bfloat16().float())
    assert logits_of(found).dtype == torch.float32
    assert logits_of(given).dtype == torch.bfloat16
    if kind in ('named_tuple', 'dataclass', 'model_output'):
        assert found.aux.dtype == torch.float32
    if kind == 'model_output':
        assert found['logits'] is found.logits and found['loss'] is None


def test_full_precision_leaves_other_things():
    labels = torch.arange(3)
    text, found = full_precision(['text', labels])
    assert text == 'text' and found is labels
    largest = torch.rand(4, 3).bfloat16().max(1)
    found = full_precision(largest)
    assert type(found) is type(largest)
    assert found.values.dtype == torch.float32
    assert found.indices.dtype == torch.int64
