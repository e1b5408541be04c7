// Shows what /events tells. Everything from outside (names, reasons, dead letters) is written as
// text, never as markup; the token stays in a variable of this module.

import { Chart } from './charts.js';

const $ = (id) => document.getElementById(id);
const node = (name, className = '', text = '') => {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  return element;
};
// Only what differs is written: selections and focus stay.
const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };

const HOUR = 3600e3;
let token = null, canReplay = false, samples = [], interval = 5000;

// Numbers for people.
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 2 });
const count = (number) => (Math.abs(number) < 1e6 ? whole : compact).format(number);
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const rate = (number) => (number > 0 && number < 10 ? number.toFixed(1) : count(number));
function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(seconds ? 1 : 0)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = parts.findIndex(([, size]) => seconds >= size);
  const [[unit, size], rest] = [parts[first], parts[first + 1]];
  const left = rest && Math.floor((seconds % size) / rest[1]);
  return `${Math.floor(seconds / size)} ${unit}${left ? ` ${left} ${rest[0]}` : ''}`;
}
function bytes(number) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) { number /= 1024; unit += 1; }
  return `${unit && number < 100 ? number.toFixed(1) : whole.format(number)} ${units[unit]}`;
}
// Control characters and those that turn the direction of text are shown, not obeyed.
const plain = (text) => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
  (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
const clock = (time) => new Date(time).toLocaleString([], { dateStyle: 'medium', timeStyle: 'medium' });

const charts = [];
function draw() {
  const format = (value) => rate(value);
  charts.push(
    new Chart($('chart-rates'), { title: 'Events', unit: 'a second', kind: 'rate', interval, format, tick: (value) => short.format(value),
      lines: [{ name: 'in', value: (sample) => sample[1] }, { name: 'out', value: (sample) => sample[2] }] }),
    new Chart($('chart-waiting'), { title: 'Waiting', unit: 'events', interval, format: count, tick: (value) => short.format(value),
      lines: [{ name: '', value: (sample) => sample[3] }] }),
    new Chart($('chart-oldest'), { title: 'Age of the oldest', unit: 'that waits', kind: 'time', interval, format: duration, tick: (value) => duration(value).replace('.0 ', ' '),
      lines: [{ name: '', value: (sample) => sample[4] }] }),
  );
}
function addSamples(more) {
  const last = samples.at(-1)?.[0] ?? 0;
  const fresh = more.filter((sample) => sample[0] > last);
  if (!fresh.length) return;
  samples.push(...fresh);
  samples = samples.filter((sample) => sample[0] >= samples.at(-1)[0] - HOUR);
  for (const chart of charts) chart.show(samples);
}

// Rows of a table by their name; cells are [text, class, label].
function table(body, rows) {
  const known = new Map([...body.rows].map((row) => [row.dataset.name, row]));
  for (const [name, cells] of rows) {
    let row = known.get(name);
    known.delete(name);
    if (!row) {
      row = body.insertRow();
      row.dataset.name = name;
      for (const [, className, label] of cells) {
        const cell = row.insertCell();
        cell.className = className;
        if (label) cell.dataset.label = label;
        cell.append(node('span'), node('span', 'reason'));
      }
    }
    cells.forEach(([text, , , extra, state], index) => {
      const [value, reason] = row.cells[index].children;
      say(value, text);
      say(reason, extra ?? '');
      if (state) value.className = `state ${state}`;
    });
  }
  for (const row of known.values()) row.remove();
}
const STATES = ['running', 'reading', 'retrying', 'held'];
const state = (name) => [plain(name), 'state-cell', '', '', STATES.includes(name) ? name : 'held'];
const number = (value, label, format = count) => [format(value), 'n', label];
const named = (name, reason) => [plain(name), 'name', '', plain(reason)];

function verdict(troubles) {
  const level = troubles[0]?.level ?? 'good';
  $('verdict').className = `card ${level}`;
  const [first] = troubles;
  say($('headline'), !first ? 'All is well' : troubles.length === 1 ? plain(first.what) : `${troubles.length} things need a look`);
  $('calm').hidden = Boolean(first);
  const list = $('troubles');
  const wanted = JSON.stringify(troubles);
  if (list.dataset.shown === wanted) return;
  list.dataset.shown = wanted;
  list.replaceChildren(...troubles.map((trouble) => {
    const item = node('li', trouble.level);
    if (troubles.length > 1) item.append(node('b', '', plain(trouble.what)));
    item.append(node('span', '', trouble.advice));
    return item;
  }));
  document.title = !first ? 'meterd' : level === 'bad' ? '✖ meterd' : '! meterd';
}

function equation(sum) {
  const terms = [['read', sum.read], [sum.holds ? '=' : '≠'], ['delivered', sum.delivered], ['+'], ['dead-lettered', sum.dead_lettered], ['+'],
    ['passed over', sum.ignored], ['+'], ['discarded', sum.discarded], ['+'], ['waiting', sum.stored]];
  const place = $('equation');
  const wanted = JSON.stringify(sum);
  if (place.dataset.shown === wanted) return;
  place.dataset.shown = wanted;
  place.replaceChildren(...terms.map(([name, value]) => {
    if (value === undefined) return node('span', 'op', name);
    const term = node('span');
    term.append(node('b', '', whole.format(value)), ` ${name}`);
    return term;
  }));
}

function show(told) {
  $('main').hidden = false;
  verdict(told.troubles);
  const { status } = told;
  if (!status) return;
  say($('rate-in'), told.rates ? rate(told.rates.read) : '–');
  say($('rate-out'), told.rates ? rate(told.rates.delivered) : '–');
  say($('waiting'), count(status.equation.stored));
  const meters = Object.entries(status.meters), sources = Object.entries(status.sources);
  const oldest = Math.max(0, ...meters.map(([, meter]) => meter.oldest_undelivered_seconds));
  say($('oldest'), status.equation.stored ? duration(oldest) : '–');
  say($('dead'), count(status.equation.dead_lettered));
  $('dead').className = status.equation.dead_lettered ? 'warn' : '';
  const { store } = status;
  const share = store.bytes / store.bytes_max;
  say($('store'), `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`);
  $('store').className = share >= 0.95 ? 'bad' : share >= 0.8 ? 'warn' : '';
  say($('store-of'), `${bytes(store.bytes)} of ${bytes(store.bytes_max)}`);
  equation(status.equation);
  table($('meters'), meters.map(([name, meter]) => [name, [
    named(name, meter.reason), state(meter.state), number(meter.stored, 'Waiting'),
    number(meter.stored ? meter.oldest_undelivered_seconds : 0, 'Oldest', (age) => (meter.stored ? duration(age) : '–')),
    number(meter.delivered, 'Delivered'), number(meter.dead_lettered, 'Dead letters')]]));
  const open = new Map(told.connections.map(({ source, open }) => [source, open]));
  table($('sources'), sources.map(([name, source]) => [name, [
    named(name, source.reason), state(source.state), number(source.read, 'Read'), number(source.ignored, 'Passed over'),
    number(source.dead_lettered, 'Dead letters'), number(source.lag_bytes ?? 0, 'Lag', (lag) => (source.lag_bytes === undefined ? '–' : bytes(lag))),
    number(open.get(name) ?? 0, 'Connections', (connections) => (source.lag_bytes === undefined ? count(connections) : '–'))]]));
  reasons(told.letters, status.equation.dead_lettered);
  addSamples(told.samples);
}

// Dead letters: how many of each reason, and those that were asked for.
let wanted = null, shown = [], reasonsKey = '', loading = false;
function reasons(letters, total) {
  const key = JSON.stringify(letters);
  if (key === reasonsKey) return;
  reasonsKey = key;
  const button = (text, filter) => {
    const made = node('button', '', text);
    made.type = 'button';
    made.dataset.filter = JSON.stringify(filter);
    made.addEventListener('click', () => {
      wanted = JSON.stringify(wanted) === made.dataset.filter ? null : filter;
      load();
    });
    return made;
  };
  const buttons = letters.map(({ meter, reason, letters: many }) => button(`${plain(meter)}: ${plain(reason)} ${count(many)}`, { meter, reason }));
  if (letters.length > 1) buttons.unshift(button(`all ${count(total)}`, {}));
  $('reasons').replaceChildren(...(buttons.length ? buttons : [node('span', 'said', 'There are none.')]));
  const note = canReplay ? 'What can be an event now goes out under the same event id; what cannot stays.'
    : 'To replay them from here, admin.token_file has to be set. In a shell: meterd dead-letters.';
  say($('replay-note'), letters.length ? note : '');
  if (wanted) load();
  press();
}
function press() {
  for (const button of $('reasons').querySelectorAll('button')) {
    button.setAttribute('aria-pressed', String(button.dataset.filter === JSON.stringify(wanted)));
  }
}
async function load(older = false) {
  press();
  if (!wanted) {
    shown = [];
    list();
    return;
  }
  if (loading) return;
  loading = true;
  const filter = wanted;
  const query = new URLSearchParams(filter);
  if (older && shown.length) query.set('before', shown.at(-1).id);
  try {
    const answer = await ask(`dead-letters?${query}`);
    const page = await answer.json();
    shown = older ? [...shown, ...page] : page;
    list(page.length === 20);
  } catch {
    // The next change tries again.
  } finally {
    loading = false;
  }
  if (filter !== wanted) load();
}
function list(hasOlder = false) {
  $('more').hidden = !hasOlder;
  $('letters').replaceChildren(...shown.map(letterItem));
}
function letterItem(letter) {
  const item = node('li');
  item.dataset.id = letter.id;
  const head = node('div', 'head');
  head.append(node('b', '', `#${letter.id}`), node('span', '', plain(letter.reason) + (letter.field ? ` in ${plain(letter.field)}` : '')),
    node('span', 'said', `${clock(letter.at)}, ${plain(letter.source)}, ${plain(letter.position)}`));
  const code = letter.code ? `Mediation's code ${plain(letter.code)}: ` : '';
  const event = node('pre', '', plain(letter.event));
  item.append(head, node('p', 'what', code + plain(letter.detail)), event);
  if (letter.event_bytes > letter.shown_bytes) {
    item.append(node('p', 'said', `The first ${count(letter.shown_bytes)} of ${count(letter.event_bytes)} bytes.`));
  }
  if (canReplay) {
    const button = node('button', 'replay', 'Replay');
    button.type = 'button';
    const said = node('span', 'said');
    button.addEventListener('click', () => replay(letter.id, button, said));
    const row = node('p');
    row.append(button, ' ', said);
    item.append(row);
  }
  return item;
}
async function replay(id, button, said) {
  button.disabled = true;
  try {
    const answer = await ask('dead-letters/replay', { method: 'POST', body: JSON.stringify({ ids: [id] }) });
    if (!answer.ok) {
      say(said, plain(await answer.text()));
      return;
    }
    const { replayed, left } = await answer.json();
    say(said, replayed ? 'It is an event again.' : left.length ? `It stays: ${plain(left[0].detail)}` : 'It is not there any more.');
    if (!replayed && left.length) button.disabled = false;
  } catch {
    say(said, 'No answer came. Look whether it is still here.');
    button.disabled = false;
  }
}
$('older').addEventListener('click', () => load(true));

// A batch by its track id.
const FIELDS = [['meter', 'Meter'], ['events', 'Events', whole.format], ['delivered_at', 'Delivered', clock], ['status', 'Status', (status) => status || 'confirmed by a person'],
  ['attempts', 'Requests'], ['outcome_unknown_attempts', 'Of unknown outcome'], ['duplicate', 'Mediation had it already', (had) => (had ? 'yes' : 'no')],
  ['batch', 'Batch'], ['track_id', 'Track id'], ['first_event_id', 'First event id'], ['last_event_id', 'Last event id'], ['payload_bytes', 'JSON', bytes], ['wire_bytes', 'gzip', bytes], ['sha256', 'SHA-256']];
$('find').addEventListener('submit', async (event) => {
  event.preventDefault();
  const place = $('found');
  try {
    const answer = await ask(`receipts/${encodeURIComponent($('track').value.trim())}`);
    if (answer.status === 404) {
      place.replaceChildren(node('p', '', 'There is no such batch, or its receipt is older than store.receipts_keep.'));
      return;
    }
    const found = await answer.json();
    const batch = found.receipt ?? found.waiting;
    const facts = node('dl');
    for (const [key, label, format] of FIELDS) {
      if (batch[key] === undefined || batch[key] === null) continue;
      facts.append(node('dt', '', label), node('dd', key.match(/id$|sha/) ? 'mono' : '', plain(String(format ? format(batch[key]) : batch[key]))));
    }
    place.replaceChildren(node('p', 'name', found.receipt ? 'Delivered' : 'It waits for delivery'), facts);
  } catch {
    place.replaceChildren(node('p', '', 'No answer came.'));
  }
});

// The line to the agent.
const pause = (time) => new Promise((done) => { setTimeout(done, time); });
function ask(path, options = {}) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  return fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' });
}
function link(className, text) {
  $('link').className = className;
  say($('link'), text);
}
const given = () => new Promise((done) => {
  $('ask').hidden = false;
  $('main').hidden = true;
  say($('refused'), token === null ? '' : 'This is not the token.');
  $('token').focus();
  $('ask').onsubmit = (event) => {
    event.preventDefault();
    token = $('token').value.trim();
    $('token').value = '';
    done();
  };
});
function hear(name, data) {
  if (name === 'hello') {
    $('ask').hidden = true;
    link('live', 'live');
    canReplay = data.can_replay;
    interval = data.interval_ms;
    say($('agent'), plain(data.agent));
    say($('version'), `version ${data.version}`);
    if (!charts.length) draw();
    samples = [];
    addSamples(data.history);
  } else if (name === 'status') {
    show(data);
  }
}
// Server-sent events by fetch: an EventSource could not show the token.
async function follow(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    // The agent tells something every second, or after a long look at a large store.
    const timer = setTimeout(() => reader.cancel(), 60e3);
    const { value, done } = await reader.read();
    clearTimeout(timer);
    if (done) return;
    const events = (rest + value).split('\n\n');
    rest = events.pop();
    for (const event of events) {
      const [name, data] = event.split('\n');
      hear(name.slice('event: '.length), JSON.parse(data.slice('data: '.length)));
    }
  }
}
for (;;) {
  try {
    const answer = await ask('events');
    if (answer.status === 401) {
      link('', 'needs the token');
      await given();
      continue;
    }
    if (answer.ok) await follow(answer);
    link('lost', answer.status === 503 ? 'enough people watch, trying again' : 'lost, trying again');
  } catch {
    link('lost', 'no answer, trying again');
  }
  await pause(2000);
}
