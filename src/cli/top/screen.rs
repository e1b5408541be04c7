//! What `meterd top` draws: the verdict first, then numbers, then every meter and source.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table, Wrap};

use crate::admin::history::{Rates, Sample};
use crate::admin::verdict::{Level, Trouble};
use crate::cli::output::one_line;
use crate::cli::status::equation;
use crate::clock::Timestamp;
use crate::settlement::{LaneState, SourceState};
use crate::store::tallies::Status;

/// Troubles that are told; more are counted.
const TOLD_MAX: usize = 4;

/// Characters of a reason.
const REASON_MAX: usize = 200;

/// One look.
pub(super) struct Shown {
    pub(super) at: Timestamp,
    pub(super) status: Status,
    pub(super) troubles: Vec<Trouble>,
    pub(super) rates: Option<Rates>,
    pub(super) samples: Vec<Sample>,
}

/// Draws all of it; what has no room is cut off at the bottom.
pub(super) fn draw(frame: &mut Frame<'_>, shown: &Shown) {
    let verdict = Paragraph::new(verdict(&shown.troubles)).wrap(Wrap { trim: true });
    let width = usize::from(frame.area().width.max(1));
    let lines = verdict_height(&shown.troubles, width);
    let rows = |count: usize| Constraint::Length(u16::try_from(count + 2).unwrap_or(u16::MAX));
    let [head, top, numbers, sum, charts, meters, sources] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lines),
        Constraint::Length(2),
        Constraint::Length(if width < 110 { 3 } else { 2 }),
        Constraint::Length(5),
        rows(shown.status.meters.len()),
        rows(shown.status.sources.len()),
    ])
    .areas(frame.area());
    let at = shown.at.to_string();
    let faint = Style::new().add_modifier(Modifier::DIM);
    let clock = at.get(11..19).unwrap_or(&at).to_owned();
    let title = Line::from(vec![
        Span::styled("meterd", Style::new().add_modifier(Modifier::BOLD)),
        Span::styled(format!("  {clock} UTC  q ends"), faint),
    ]);
    frame.render_widget(title, head);
    frame.render_widget(verdict, top);
    frame.render_widget(Paragraph::new(figures(shown)).wrap(Wrap { trim: true }), numbers);
    frame.render_widget(Paragraph::new(equation(&shown.status)).wrap(Wrap { trim: true }), sum);
    draw_charts(frame, charts, &shown.samples);
    draw_meters(frame, meters, &shown.status);
    draw_sources(frame, sources, &shown.status);
}

fn color(level: Level) -> Color {
    match level {
        Level::Bad => Color::Red,
        Level::Warn => Color::Yellow,
    }
}

/// Whether all is well, or what is wrong and what to do.
fn verdict(troubles: &[Trouble]) -> Vec<Line<'static>> {
    if troubles.is_empty() {
        let style = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);
        return vec![Line::styled("All is well", style)];
    }
    let told = troubles.iter().take(TOLD_MAX).map(|trouble| {
        let style = Style::new().fg(color(trouble.level)).add_modifier(Modifier::BOLD);
        let what = Span::styled(one_line(&trouble.what, REASON_MAX), style);
        Line::from(vec![what, Span::raw(". "), Span::raw(trouble.advice)])
    });
    let more = troubles.len().saturating_sub(TOLD_MAX);
    let more = (more > 0).then(|| Line::raw(format!("and {more} more")));
    told.chain(more).collect()
}

/// Lines that the verdict takes when it is `width` wide, and a blank one.
fn verdict_height(troubles: &[Trouble], width: usize) -> u16 {
    // A word that does not fit leaves room: so much more at most.
    let lines = verdict(troubles)
        .iter()
        .map(|line| line.width().div_ceil(width) + line.width() / (6 * width))
        .sum::<usize>();
    u16::try_from(lines + 1).unwrap_or(u16::MAX)
}

/// The numbers that are looked at first.
fn figures(shown: &Shown) -> Line<'static> {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}/s"));
    let status = &shown.status;
    let ages = status.meters.values().map(|meter| meter.oldest_undelivered_seconds);
    let bytes = shown.status.store.bytes;
    let store = match status.store.bytes_max {
        #[expect(clippy::cast_precision_loss, reason = "2^53 bytes are more than a disk has")]
        Some(max) => format!("{} ({:.1} %)", size(bytes), bytes as f64 * 100.0 / max.max(1) as f64),
        None => size(bytes),
    };
    let figures = [
        ("in", rate(shown.rates.map(|rates| rates.read))),
        ("out", rate(shown.rates.map(|rates| rates.delivered))),
        ("waiting", status.equation.stored.to_string()),
        ("oldest", age(ages.fold(0.0, f64::max))),
        ("dead letters", status.equation.dead_lettered.to_string()),
        ("store", store),
    ];
    let spans = figures.into_iter().flat_map(|(name, value)| {
        [Span::raw(format!("{name} ")), Span::styled(value, strong), Span::raw("   ")]
    });
    Line::from(spans.collect::<Vec<_>>())
}

/// The latest samples, the newest at the right.
fn draw_charts(frame: &mut Frame<'_>, area: Rect, samples: &[Sample]) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates and counts are not negative"
    )]
    let whole = |value: f64| value.round() as u64;
    let charts: [(&str, Color, Vec<u64>); 3] = [
        ("in, a second", Color::Blue, samples.iter().map(|at| whole(at.rates.read)).collect()),
        (
            "out, a second",
            Color::Yellow,
            samples.iter().map(|at| whole(at.rates.delivered)).collect(),
        ),
        ("waiting", Color::Blue, samples.iter().map(|at| at.stored.unsigned_abs()).collect()),
    ];
    let places: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).spacing(1).areas(area);
    for ((name, color, values), place) in charts.into_iter().zip(places) {
        let room = usize::from(place.width.saturating_sub(2));
        let values = &values[values.len().saturating_sub(room)..];
        let most = values.iter().max().copied().unwrap_or(0);
        let block = Block::bordered().title(format!("{name}, up to {most}"));
        let line = Sparkline::default().data(values).style(Style::new().fg(color)).block(block);
        frame.render_widget(line, place);
    }
}

fn draw_meters(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let rows = status.meters.iter().map(|(name, meter)| {
        let color = match meter.state.as_str() {
            state if state == LaneState::Running.name() => Color::Green,
            state if state == LaneState::Retrying.name() => Color::Yellow,
            _ => Color::Red,
        };
        Row::new([
            Span::raw(one_line(name, 40)),
            Span::styled(one_line(&meter.state, 10), Style::new().fg(color)),
            Span::raw(meter.stored.to_string()),
            Span::raw(age(meter.oldest_undelivered_seconds)),
            Span::raw(meter.delivered.to_string()),
            Span::raw(meter.dead_lettered.to_string()),
            Span::raw(one_line(&meter.reason, REASON_MAX)),
        ])
    });
    let header = ["meter", "state", "waiting", "oldest", "delivered", "dead", "reason"];
    draw_table(frame, area, header, widest(status.meters.keys()), rows.collect());
}

fn draw_sources(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let rows = status.sources.iter().map(|(name, source)| {
        let is_held = source.state == SourceState::Held.name();
        let color = if is_held { Color::Red } else { Color::Green };
        Row::new([
            Span::raw(one_line(name, 40)),
            Span::styled(one_line(&source.state, 10), Style::new().fg(color)),
            Span::raw(source.read.to_string()),
            Span::raw(source.lag_bytes.map_or("-".to_owned(), size)),
            Span::raw(source.ignored.to_string()),
            Span::raw(source.dead_lettered.to_string()),
            Span::raw(one_line(&source.reason, REASON_MAX)),
        ])
    });
    let header = ["source", "state", "read", "lag", "ignored", "dead", "reason"];
    draw_table(frame, area, header, widest(status.sources.keys()), rows.collect());
}

/// Columns for names, within bounds.
fn widest<'n>(names: impl Iterator<Item = &'n String>) -> Constraint {
    let widest = names.map(|name| name.chars().count()).max().unwrap_or(0);
    Constraint::Length(u16::try_from(widest.clamp(6, 24)).unwrap_or(24))
}

fn draw_table(
    frame: &mut Frame<'_>,
    area: Rect,
    header: [&'static str; 7],
    names: Constraint,
    rows: Vec<Row<'_>>,
) {
    let widths = [
        names,
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let style = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Table::new(rows, widths).header(Row::new(header).style(style)), area);
}

/// An age in its two largest units.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Bytes with three digits or so.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "it is rounded")]
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        let check = |bytes, expected: &str| assert_eq!(size(bytes), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(10 << 30, "10.0 GiB");
        check(1 << 60, "1048576.0 TiB");
        for (seconds, expected) in [(0.2, "0s"), (61.0, "1m 1s"), (3725.0, "1h 2m"), (1e5, "1d 3h")]
        {
            assert_eq!(age(seconds), expected);
        }
    }
}
