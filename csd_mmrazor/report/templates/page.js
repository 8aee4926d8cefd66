'use strict';
// Whatever comes from files is set as text, never as HTML.
const data = JSON.parse(document.getElementById('data').textContent);
const dark = window.matchMedia('(prefers-color-scheme: dark)');

function element(kind, name, text) {
  const made = document.createElement(kind);
  made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Plotly reads some HTML in texts.
function plain(text, most = 60) {
  const whole = [...String(text)];
  const shown = whole.length > most ? [...whole.slice(0, most), '...'] : whole;
  return shown.join('').replace(/&/g, '&amp;')
    .replace(/</g, '&lt;').replace(/>/g, '&gt;');
}

function traces(plot) {
  if (plot.kind === 'matrix') {
    const { x, y } = plot.series[0];
    const names = x.map((name) => plain(name));
    const places = names.map((_, i) => i);
    const shares = y.map((row) => {
      const sum = row.reduce((a, b) => a + b, 0);
      return row.map((n) => (sum ? (100 * n) / sum : null));
    });
    const hover = y.map((row, i) => row.map((n, j) =>
      `${names[i]} taken for ${names[j]}: ${n} images`));
    return [{
      type: 'heatmap', x: places, y: places, z: shares, text: hover,
      hoverinfo: 'text', zmin: 0, zmax: 100, colorscale: 'Viridis',
      colorbar: { title: { text: '%' }, thickness: 12 },
    }];
  }
  return plot.series.map((series) => {
    const common = { name: plain(series.name), y: series.y };
    if (plot.kind === 'bar') {
      const [names, unit] = [series.x.map((name) => plain(name)), plain(plot.y)];
      return {
        ...common, type: 'bar', x: names.map((_, i) => i),
        hovertext: series.y.map((value, i) => value === null ? '' :
          `${names[i]}, ${common.name}: ${+value.toFixed(2)} (${unit})`),
        hoverinfo: 'text',
      };
    }
    return {
      ...common, type: 'scatter', x: series.x,
      mode: series.x.length > 60 ? 'lines' : 'lines+markers',
      line: { dash: series.dash ? 'dash' : 'solid' },
    };
  });
}

function layout(plot) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = (title) => ({
    title: { text: plain(title) }, gridcolor: color('--line'),
    zerolinecolor: color('--line'), automargin: true,
  });
  const made = {
    margin: { l: 50, r: 10, t: 10, b: 40 },
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    font: { color: color('--text'), family: 'system-ui, sans-serif' },
    hovermode: plot.kind === 'line' ? 'x unified' : 'closest',
    hoverlabel: { bgcolor: color('--card') },
    legend: { orientation: 'h', y: -0.25 }, showlegend: plot.series.length > 1,
    xaxis: axis(plot.x), yaxis: axis(plot.y),
  };
  if (plot.x === 'epoch') {
    const last = Math.max(...plot.series.map((series) => series.x.at(-1)));
    Object.assign(made.xaxis, { tick0: 0, dtick: Math.ceil(last / 10) });
  }
  if (plot.kind !== 'line') {
    // By number, since names of classes may be equal, or look like numbers.
    const names = plot.series[0].x.map((name) => plain(name, 12));
    const ticks = { tickvals: names.map((_, i) => i), ticktext: names };
    Object.assign(made.xaxis, ticks);
    if (plot.kind === 'matrix') {
      Object.assign(made.yaxis, ticks, { autorange: 'reversed' });
    }
  }
  return made;
}

function draw(place) {
  if (!window.Plotly || !place.offsetParent) return;
  const run = place.dataset.run;
  const plots = run === '' ? data.comparison : data.runs[run].plots;
  const plot = plots[place.dataset.plot];
  window.Plotly.react(place, traces(plot), layout(plot), {
    responsive: true, displaylogo: false,
    // Without a mouse it would always cover a part of the plot.
    displayModeBar: matchMedia('(hover: hover)').matches ? 'hover' : false,
    modeBarButtonsToRemove: ['lasso2d', 'select2d'],
  });
}

function drawAll() {
  document.querySelectorAll('.plot').forEach(draw);
}

async function loadPlotly() {
  const packed = document.getElementById('plotly').textContent;
  if (!packed) throw new Error('plotly was not installed: pip install plotly');
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream()
    .pipeThrough(new DecompressionStream('gzip'));
  const script = document.createElement('script');
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function describe(run, [round, , label, score]) {
  const name = (number) => run.classes[number] ?? String(number);
  const parts = [run.gallery.rounds[round].name, `class ${name(label)}`];
  if (score) {
    const [loss, student, teacher, share] = score;
    parts.push(
      `student: ${name(student)}, cross entropy ` +
        `${loss === null ? 'not a number' : loss.toFixed(2)}`,
      `teacher: ${name(teacher)}, ${(100 * share).toFixed(0)} % ` +
        `for ${name(label)}`,
    );
  }
  return parts.join('; ');
}

const MOST_TILES = 96;

function gallery(place) {
  const run = data.runs[place.dataset.run];
  const { rounds, images } = run.gallery;
  const find = (name) => place.querySelector(name);
  const order = find('.order');
  const choice = find('.class');
  const slider = find('.round');
  slider.max = rounds.length - 1;
  slider.value = rounds.length - 1;
  choice.append(new Option('all', ''));
  const labels = [...new Set(images.map((image) => image[2]))];
  labels.sort((a, b) => a - b).forEach((label) => {
    choice.append(new Option(run.classes[label] ?? String(label), label));
  });
  const scored = images.filter((image) => image[3]);
  if (!scored.length) {
    [...order.options].slice(1).forEach((option) => {
      option.disabled = true;
      option.textContent += ' (no scores)';
    });
  }

  function selected() {
    const ofClass = (image) =>
      choice.value === '' || image[2] === Number(choice.value);
    // Without a number it is as hard as can be.
    const loss = (image) => image[3][0] ?? Infinity;
    if (order.value === 'round') {
      const number = Number(slider.value);
      return images.filter((each) => each[0] === number && ofClass(each));
    }
    const found = scored.filter(ofClass);
    if (order.value === 'wrong') {
      return found.filter((image) => image[3][2] !== image[2]);
    }
    const sign = order.value === 'hard' ? -1 : 1;
    return found.sort((a, b) =>
      loss(a) === loss(b) ? 0 : sign * (loss(a) < loss(b) ? -1 : 1));
  }

  function tile(image) {
    const { css, columns, rows, width, height } = rounds[image[0]].sprite;
    const scale = Math.max(1, Math.round(64 / Math.max(width, height)));
    const made = element('button', `tile ${css}`);
    const [w, h] = [width * scale, height * scale];
    made.style.width = `${w}px`;
    made.style.height = `${h}px`;
    made.style.backgroundSize = `${columns * w}px ${rows * h}px`;
    made.style.backgroundPosition =
      `${-(image[1] % columns) * w}px ${-Math.floor(image[1] / columns) * h}px`;
    const text = describe(run, image);
    made.title = text;
    made.setAttribute('aria-label', text);
    made.type = 'button';
    for (const event of ['mouseenter', 'focus', 'click']) {
      made.addEventListener(event, () => {
        find('.chosen').textContent = text;
      });
    }
    return made;
  }

  function show() {
    const found = selected();
    find('.rounds').hidden = order.value !== 'round';
    find('.round-name').textContent = rounds[slider.value].name;
    const shown = found.slice(0, MOST_TILES);
    find('.count').textContent =
      `${shown.length} of ${found.length} images; ${images.length} images ` +
      `of ${rounds.length} rounds are on this page, a sample of the bank.`;
    find('.tiles').replaceChildren(...shown.map(tile));
  }

  for (const input of [order, choice, slider]) {
    input.addEventListener('input', show);
  }
  show();
}

function filterRows(input) {
  const rows = input.closest('.filtered').querySelectorAll('tbody tr');
  input.addEventListener('input', () => {
    const wanted = input.value.toLowerCase();
    rows.forEach((row) => {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  });
}

document.querySelectorAll('.gallery').forEach(gallery);
document.querySelectorAll('.filter-rows').forEach(filterRows);
document.querySelectorAll('details').forEach((details) => {
  details.addEventListener('toggle', () => {
    details.querySelectorAll('.plot').forEach(draw);
  });
});
dark.addEventListener('change', drawAll);
loadPlotly().then(drawAll).catch((error) => {
  const note = document.getElementById('no-plots');
  note.hidden = false;
  note.textContent = `There are no plots: ${error.message}`;
});
