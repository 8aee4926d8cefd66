# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.report import advise
from csd_mmrazor.report.run_files import agreement_of, recognised_of

NAN = float('nan')


def by_epoch(*values, start=1):
    return dict(enumerate(values, start))


RISING = by_epoch(30.0, 60.0, 70.0, 80.0, 85.0, 86.0, 86.5, 87.0)
GOOD = dict(
    top1=RISING,
    recognised=by_epoch(*[90.0] * 8, start=0),
    initial=99.0,
    num_classes=10,
    epochs=8,
)


@pytest.mark.parametrize(
    'changes, keys',
    [
        ({}, []),
        (dict(top1={}, recognised={}, initial=None), []),
        (dict(num_classes=None, epochs=None), []),
        # The initial images.
        (dict(initial=49.0), ['initial']),
        (dict(initial=NAN), ['initial']),
        (dict(initial=51.0), []),
        # Those of the epochs make up for them.
        (dict(initial=10.0, whole=65.0), []),
        (dict(initial=10.0, whole=40.0), ['initial']),
        # Of 1000 classes, 5 % are 50 times chance.
        (dict(initial=5.0, num_classes=1000), []),
        (dict(initial=1.5, num_classes=1000), ['initial']),
        # Those of the epochs; one weak round is no sign.
        (dict(recognised=by_epoch(94.0, 90.0, 4.0)), []),
        (dict(recognised=by_epoch(94.0, 20.0, 4.7)), ['recognised']),
        (dict(recognised=by_epoch(94.0, 4.7, 90.0)), []),
        (dict(recognised=by_epoch(40.0, 40.0)), []),
        (dict(recognised=by_epoch(40.0, 42.0, 44.0)), ['recognised']),
        (dict(recognised=by_epoch(90.0, NAN, NAN)), []),
        # The accuracy.
        (dict(top1=by_epoch(10.0, 11.0)), []),
        (dict(top1=by_epoch(10.0, 11.0, 10.5)), ['chance']),
        (dict(top1=by_epoch(10.0, 11.0, 25.0)), []),
        (dict(top1=by_epoch(80.0, 85.0, 40.0)), ['collapse']),
        (dict(top1=by_epoch(80.0, 85.0, 60.0)), []),
        (dict(top1=by_epoch(80.0, NAN)), ['collapse']),
        (dict(top1=by_epoch(NAN)), ['collapse']),
        (dict(top1=by_epoch(80.0, *[79.0] * 5)), ['stall']),
        (dict(top1=by_epoch(80.0, *[79.0] * 4)), []),
        (dict(top1=by_epoch(80.0, *[80.0] * 5)), ['stall']),
        # A quarter of a long run is waited for.
        (dict(top1=by_epoch(80.0, *[79.0] * 24), epochs=100), []),
        (dict(top1=by_epoch(80.0, *[79.0] * 25), epochs=100), ['stall']),
        # As good as the teacher.
        (dict(top1=by_epoch(80.0, *[79.0] * 9), teacher_top1=80.5), []),
        (dict(top1=by_epoch(80.0, *[79.0] * 9), teacher_top1=90.0), ['stall']),
        (dict(initial=5.0, top1=by_epoch(10, 10, 10)), ['initial', 'chance']),
        # Of two classes, chance is half.
        (dict(top1=by_epoch(60.0, 60.0, 65.0), num_classes=2), []),
        (dict(top1=by_epoch(50.0, 52.0, 51.0), num_classes=2), ['chance']),
        (dict(initial=52.0, num_classes=2), ['initial']),
        (
            dict(recognised=by_epoch(52.0, 51.0, 53.0), num_classes=2),
            ['recognised'],
        ),
        (dict(recognised=by_epoch(62.0, 61.0, 63.0), num_classes=2), []),
    ],
)
def test_what_is_said_when(changes, keys):
    assert list(advise(**{**GOOD, **changes})) == keys


@pytest.mark.parametrize(
    'teacher_top1, said, not_said',
    [
        (None, 'order of the teacher', 'lower'),
        (12.0, 'order of the teacher', 'lower'),
        (98.9, 'lower optim_wrapper.architecture.optimizer.lr', 'Check'),
        (30.0, 'If it should be higher, check mean, std, channel', 'Check'),
    ],
)
def test_a_student_at_chance(teacher_top1, said, not_said):
    """Inputs are not blamed if the teacher is right on them."""
    curve = by_epoch(10.0, 11.0, 10.5)
    text = advise(curve, {}, None, 10, 10, teacher_top1)['chance']
    assert said in text and not_said not in text


@pytest.mark.parametrize(
    'known, said, not_said',
    [
        ({}, '5.0 % of the last initial images', 'validation'),
        (dict(whole=20.0), '20.0 % of all images of the bank', 'validation'),
        (dict(teacher_top1=98.8), '98.8 % of the validation', 'was long'),
    ],
)
def test_few_initial_images_are_recognised(known, said, not_said):
    text = advise(**{**GOOD, **known, 'initial': 5.0})['initial']
    assert said in text and not_said not in text
    assert 'common in short runs' in text


def test_all_images_that_the_teacher_recognises_are_counted():
    scalars = {
        'initial/unrecognised': {0: 50},
        'initial/images': {0: 64},
        'synthesis/unrecognised': {0: 10, 1: 20},
        'synthesis/images': {0: 164, 1: 320},
    }
    assert recognised_of(scalars) == pytest.approx(75)
    # Images were dropped, or nothing is logged.
    scalars['synthesis/images'] = {0: 164, 1: 164}
    assert recognised_of(scalars) is recognised_of({}) is None


@pytest.mark.parametrize(
    'held_out, same, keys',
    [
        # New images are hard for the student of their time.
        ([90.0, 91.0, 20.0], [90.0, 91.0, 91.0], []),
        ([90.0, 91.0, 90.0], [90.0, 91.0, 20.0], ['collapse']),
        ([80.0, *[79.0] * 5], [80.0, 81.0, 82.0, 83.0, 84.0, 85.0], []),
        ([90.0, 91.0, 90.0], [], []),
        ([90.0, 91.0, 20.0], [], []),
        ([90.0, 91.0, 20.0], [90.0, 91.0], []),
        ([80.0, *[79.0] * 5], [], []),
        # What one epoch alone says.
        ([90.0, 91.0, NAN], [], ['collapse']),
        ([10.0, 11.0, 10.0], [], ['chance']),
    ],
)
def test_agreement_on_the_same_images_alone_is_compared(held_out, same, keys):
    scalars = {
        'agreement/held_out_top1': by_epoch(*held_out),
        'agreement/initial_top1': by_epoch(*same),
    }
    found = advise({}, {}, None, 10, None, None, *agreement_of(scalars))
    assert [*found] == keys


@pytest.mark.parametrize('number, keys', [(49, []), (50, ['collapse'])])
def test_a_few_images_do_not_tell_epochs_apart(number, keys):
    same = by_epoch(50.0, 20.0)
    scalars = {
        'agreement/held_out_top1': same,
        'agreement/initial_top1': same,
        'agreement/initial_images': by_epoch(number, number),
    }
    found = advise({}, {}, None, 10, None, None, *agreement_of(scalars))
    assert [*found] == keys
    assert all('held-out images from before' in x for x in found.values())


def test_it_names_the_figures_and_what_to_try():
    (text,) = advise(
        by_epoch(80.0, 85.25, 40.0), {}, None, 10, 10, None
    ).values()
    assert 'from 85.2 % (epoch 2) to 40.0 % (epoch 3)' in text
    assert 'clip_grad' in text and 'lr' in text
    (text,) = advise({}, by_epoch(94.0, 20.0, 4.7, start=0)).values()
    assert 'fell from 94.0 % (epoch 1) to 4.7 % (epoch 3)' in text
    assert 'init_bank' in text and 'loss_oh' in text
