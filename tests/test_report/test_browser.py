# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The page as a person uses it, in a browser without a network."""

import json
import re
import shutil

import pytest
from report_helpers import compare_with_teacher

from csd_mmrazor.report import write_report
from csd_mmrazor.utils.agreement import describe_agreement, estimate_of


def luminance(text):
    """Of a colour as the browser has it, 0..255."""
    return sum(map(float, re.findall(r'[\d.]+', text)[:3])) / 3


def test_curves_answer_to_the_pointer(work_dir, open_page):
    page = open_page(write_report([work_dir]))
    plots = page.locator('.plot')
    page.wait_for_function(
        'document.querySelectorAll(".js-plotly-plot").length === '
        'document.querySelectorAll(".plot").length'
    )
    assert plots.count() >= 9
    plot = page.locator('.plot[aria-label="Accuracy on real images"]')
    plot.scroll_into_view_if_needed()
    point = plot.locator('.scatterlayer .point').first
    point.hover(force=True)
    label = plot.locator('.hoverlayer')
    label.locator('text').first.wait_for()
    assert 'student : 50' in ' '.join(
        label.locator('text').all_text_contents()
    )
    matrix = page.locator('.plot[aria-label="Confusion of the student"]')
    matrix.scroll_into_view_if_needed()
    box = matrix.locator('.heatmaplayer image').bounding_box()
    # The last class, taken for the first.
    page.mouse.move(
        box['x'] + box['width'] / 6, box['y'] + 5 * box['height'] / 6
    )
    label = matrix.locator('.hoverlayer text').first
    label.wait_for()
    assert 'frog taken for cat: 10 images' in label.text_content()


def test_the_bank_can_be_looked_through(work_dir, open_page):
    page = open_page(write_report([work_dir]))
    tiles, name = page.locator('.tile'), page.locator('.round-name')
    assert name.text_content() == 'epoch 3' and tiles.count() == 12
    slider = page.locator('.round')
    slider.focus()
    page.keyboard.press('Home')
    assert name.text_content() == 'initial, round 2'
    page.keyboard.press('ArrowRight')
    page.keyboard.press('ArrowRight')
    assert name.text_content() == 'epoch 1'
    # An image is drawn, and says what it is, to pointer and touch.
    style = tiles.first.evaluate('e => getComputedStyle(e).backgroundImage')
    assert style.startswith('url("data:image/png')
    tiles.nth(3).hover()
    chosen = page.locator('.chosen')
    assert chosen.text_content() == tiles.nth(3).get_attribute('title')
    assert 'epoch 1; class cat; student: cat, cross entropy' in (
        chosen.text_content()
    )
    assert 'teacher: dog, 25 % for cat' in chosen.text_content()
    page.locator('.class').select_option('dog')
    assert tiles.count() == 4
    assert all('class dog' in t for t in titles(tiles))
    page.locator('.class').select_option('all')

    page.locator('.order').select_option('hard')
    assert not page.locator('.rounds').is_visible()
    hard = losses(tiles)
    assert len(hard) == 60 and hard == sorted(hard, reverse=True)
    page.locator('.order').select_option('easy')
    assert losses(tiles) == hard[::-1]
    page.locator('.order').select_option('wrong')
    assert tiles.count() == 20
    assert all('class cat' in t for t in titles(tiles))
    assert '20 of 20 images' in page.locator('.count').text_content()


def titles(tiles):
    return [tile.get_attribute('title') for tile in tiles.all()]


def losses(tiles):
    return [
        float(re.search(r'cross entropy ([\d.]+)', title)[1])
        for title in titles(tiles)
    ]


def test_tables_are_filtered(work_dir, open_page):
    page = open_page(write_report([work_dir]))
    page.get_by_label('Filter classes:').fill('FROG')
    rows = page.locator('table.classes tbody tr:visible')
    assert [row.inner_text().split()[0] for row in rows.all()] == ['frog']
    settings = page.locator('details', has_text='Settings (')
    settings.locator('summary').click()
    page.get_by_label('Filter settings:').fill('epochs')
    rows = page.locator('table.settings tbody tr:visible')
    assert rows.all_inner_texts() == ['train_cfg.max_epochs\t3']


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_on_a_phone_by_day_and_night(scheme, work_dir, open_page):
    page = open_page(
        write_report([work_dir]), 360, 740, color_scheme=scheme, has_touch=True
    )
    page.wait_for_timeout(100)
    width = page.evaluate('document.documentElement.scrollWidth')
    assert width <= 360  # nothing to be moved sideways
    back, text = page.evaluate(
        '[getComputedStyle(document.body).backgroundColor,'
        'getComputedStyle(document.body).color]'
    )
    contrast = luminance(text) - luminance(back)
    assert contrast > 150 if scheme == 'dark' else contrast < -150
    axis = page.locator('.plot .xtick text').first
    fill = luminance(axis.evaluate('e => getComputedStyle(e).fill'))
    assert fill > 180 if scheme == 'dark' else fill < 80
    tile = page.locator('.tile').nth(2)
    tile.tap()
    assert page.locator('.chosen').text_content() == (
        tile.get_attribute('title')
    )


def test_several_runs(work_dir, tmp_path, open_page):
    other = tmp_path / 'other'
    shutil.copytree(work_dir, other)
    agreement = compare_with_teacher(other)
    page = open_page(write_report([work_dir, other], tmp_path / 'two.html'))
    legend = page.locator('.plot[data-run=""] .legendtext')
    assert {'run', 'other'} <= set(legend.all_text_contents())
    details = page.locator('details.run')
    assert details.count() == 2
    assert not details.nth(1).locator('.tile').first.is_visible()
    details.nth(1).locator('summary').first.click()
    details.nth(1).locator('.js-plotly-plot .main-svg').first.wait_for()
    assert details.nth(1).locator('.tile').first.is_visible()
    # How good a student is of which no accuracy is known.
    facts = page.locator('table', has_text='estimated accuracy').first
    (row,) = facts.locator('tr', has_text='estimated accuracy').all()
    estimate = f'{estimate_of(agreement)}'
    assert row.inner_text().split('\t')[1:] == ['-', estimate]
    told = page.locator('.agreement')
    assert told.count() == 1 and told.is_visible()
    assert told.inner_text() == (
        'The student was not tested on real images. '
        + describe_agreement(agreement)
    )


def test_hostile_names_stay_text(work_dir, open_page):
    """Dialogs, requests and errors of the console end the test."""
    path = work_dir / 'report.json'
    found = json.loads(path.read_text())
    evil = '<img src=https://example.org/x onerror=alert(1)>'
    found['classes'] = [evil, '<a href="javascript:alert(2)">b</a>', '\u202e']
    path.write_text(json.dumps(found))
    for log in work_dir.glob('*/*.log'):
        log.write_text(
            f'2026/01/01 10:00:02 - mmengine - ERROR - {evil * 3}\n'
        )
    page = open_page(write_report([work_dir]))
    assert page.locator('img').count() == 0
    assert page.locator('main a').count() == 0
    assert page.locator('table.classes').get_by_text(evil).count() == 1
    page.locator('.order').select_option('hard')
    page.locator('.tile').first.hover()
    assert page.locator('.chosen').text_content().startswith('epoch 3; class')
    matrix = page.locator('.plot[aria-label="Confusion of the student"]')
    matrix.scroll_into_view_if_needed()
    box = matrix.locator('.heatmaplayer image').bounding_box()
    page.mouse.move(box['x'] + 5, box['y'] + 5)
    label = matrix.locator('.hoverlayer text').first
    label.wait_for()
    assert '<img' in label.text_content()
