// A chart of the last hour: lines over time as SVG, with axes, a legend that shows the latest
// values, and the values of any instant under the pointer or the arrow keys. Text is only ever text.

const SPAN = 3600e3, SPAN_MIN = 120e3;
const LEFT = 46, RIGHT = 8, TOP = 8, BOTTOM = 20;

const svg = (name, attributes = {}, text) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
const html = (name, className = '', text = '') => {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  return element;
};

// Steps of 1, 2 or 5 times a power of ten (of times: seconds, minutes, hours), at most four.
const NICE = { number: [1, 2, 5, 10], time: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400] };
function step(max, kind) {
  if (kind === 'time') {
    const found = NICE.time.find((nice) => max / nice <= 4);
    if (found) return found;
  }
  const power = 10 ** Math.floor(Math.log10(max / 4 || 1));
  return Math.max(NICE.number.find((nice) => max / (nice * power) <= 4) * power, kind === 'count' ? 1 : 0);
}

const clock = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const clockSeconds = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

export class Chart {
  // `lines`: [{ name, value: sample => number }]; `format` writes a value, `tick` one of the axis.
  constructor(figure, { title, unit, lines, format, tick, kind = 'count', interval }) {
    Object.assign(this, { lines, format, tick: tick ?? format, kind, interval, title, samples: [], chosen: null });
    const caption = html('figcaption');
    caption.append(html('span', '', title), html('span', 'unit', unit));
    const key = html('div', 'key');
    this.values = lines.map((line, index) => {
      const item = html('span', 'ab'[index]);
      const value = html('b');
      item.append(html('i'), document.createTextNode(line.name ? `${line.name} ` : ''), value);
      key.append(item);
      return value;
    });
    this.when = html('span', 'when');
    key.append(this.when);
    caption.append(key);
    this.svg = svg('svg', { role: 'img', tabindex: '0' });
    figure.replaceChildren(caption, this.svg);
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.svg.addEventListener('pointermove', (event) => this.choose(this.timeAt(event)));
    this.svg.addEventListener('pointerdown', (event) => this.choose(this.timeAt(event)));
    this.svg.addEventListener('pointerleave', () => this.choose(null));
    this.svg.addEventListener('blur', () => this.choose(null));
    this.svg.addEventListener('keydown', (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move || !this.samples.length) return;
      event.preventDefault();
      const index = this.chosen ? this.samples.indexOf(this.chosen) + move : this.samples.length - 1;
      this.choose(this.samples[Math.min(Math.max(index, 0), this.samples.length - 1)][0]);
    });
  }

  show(samples) {
    this.samples = samples;
    this.draw();
  }

  timeAt(event) {
    const { left } = this.svg.getBoundingClientRect();
    return this.begin + ((event.clientX - left - LEFT) / this.width) * (this.end - this.begin);
  }

  choose(time) {
    this.chosen = time === null ? null : this.samples.reduce(
      (best, sample) => (best && Math.abs(best[0] - time) <= Math.abs(sample[0] - time) ? best : sample), null);
    this.draw();
  }

  draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width) return;
    const { samples, lines } = this;
    this.width = Math.max(width - LEFT - RIGHT, 1);
    const depth = height - TOP - BOTTOM;
    const last = samples.at(-1);
    this.end = last ? last[0] : Date.now();
    this.begin = Math.max(this.end - SPAN, Math.min(samples[0]?.[0] ?? this.end, this.end - SPAN_MIN));
    const highest = Math.max(0, ...samples.flatMap((sample) => lines.map((line) => line.value(sample))));
    const gap = step(highest || (this.kind === 'time' ? 4 : 1), this.kind);
    const top = Math.max(Math.ceil(highest / gap), 1) * gap;
    const x = (time) => LEFT + ((time - this.begin) / (this.end - this.begin)) * this.width;
    const y = (value) => TOP + depth * (1 - value / top);
    const parts = [];
    for (let value = 0; value <= top * 1.001; value += gap) {
      parts.push(svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
      parts.push(svg('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, this.tick(value)));
    }
    parts.push(...this.times(x, height));
    lines.forEach((line, index) => parts.push(...this.curve(line, 'ab'[index], x, y)));
    if (this.chosen) parts.push(...this.cursor(x, y, depth));
    const label = last ? lines.map((line) => `${line.name} ${this.format(line.value(last))}`).join(', ') : 'nothing yet';
    this.svg.setAttribute('aria-label', `${this.title}: ${label}`);
    this.svg.replaceChildren(...parts);
    const told = this.chosen ?? last;
    this.values.forEach((value, index) => { value.textContent = told ? this.format(lines[index].value(told)) : '–'; });
    this.when.textContent = this.chosen ? clockSeconds.format(this.chosen[0]) : '';
  }

  // Whole minutes of the clock, as many as there is room for.
  times(x, height) {
    const room = Math.max(Math.floor(this.width / 64), 2);
    const minutes = [1, 2, 5, 10, 15, 20, 30].find((count) => (this.end - this.begin) / (count * 60e3) <= room) ?? 60;
    const parts = [];
    for (let time = Math.ceil(this.begin / (minutes * 60e3)) * minutes * 60e3; time <= this.end; time += minutes * 60e3) {
      const anchor = x(time) > LEFT + this.width - 16 ? 'end' : x(time) < LEFT + 16 ? 'start' : 'middle';
      parts.push(svg('text', { x: x(time), y: height - 4, 'text-anchor': anchor }, clock.format(time)));
    }
    return parts;
  }

  // A line is broken where samples are missing.
  curve(line, className, x, y) {
    const runs = [];
    let before = -Infinity;
    for (const sample of this.samples) {
      if (sample[0] - before > 3 * this.interval) runs.push([]);
      runs.at(-1).push(`${x(sample[0]).toFixed(1)},${y(line.value(sample)).toFixed(1)}`);
      before = sample[0];
    }
    const area = className === 'a' ? runs.map((run) => {
      const [first, last] = [run[0].split(',')[0], run.at(-1).split(',')[0]];
      return `M${first},${y(0)}L${run.join('L')}L${last},${y(0)}Z`;
    }).join('') : '';
    const path = svg('path', { class: `curve ${className}`, d: runs.map((run) => `M${run.join('L')}`).join('') });
    return area ? [svg('path', { class: `area ${className}`, d: area }), path] : [path];
  }

  cursor(x, y, depth) {
    const at = x(this.chosen[0]);
    return [
      svg('line', { class: 'cursor', x1: at, x2: at, y1: TOP, y2: TOP + depth }),
      ...this.lines.map((line, index) => svg('circle', { class: `dot ${'ab'[index]}`, r: 3.5, cx: at, cy: y(line.value(this.chosen)) })),
    ];
  }
}
