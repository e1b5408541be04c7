//! The metrics, in the text forms of Prometheus and of OpenMetrics.
//!
//! What money rests on is read from the store and goes on after a restart; the rest counts since
//! the start of the process.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::View;
use super::process::Process;
use crate::dead_letter::Reason;
use crate::meter::Meter;
use crate::settlement::LaneState;
use crate::store::reconciliations::Reconciled;
use crate::store::tallies::Status;

/// How the metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that a scraper accepts.
    pub(super) fn of(accepted: Option<&str>) -> Self {
        match accepted {
            Some(accepted) if accepted.contains("application/openmetrics-text") => {
                Self::OpenMetrics
            }
            _ => Self::Prometheus,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The values of one look.
#[derive(Debug)]
pub(super) struct Scrape {
    view: View,
    status: Status,
    process: Option<Process>,
}

/// A name, its help, and the value.
type ReconciledValue = (&'static str, &'static str, fn(&Reconciled) -> f64);

type Labels = Vec<(&'static str, String)>;

impl Scrape {
    pub(super) fn new(view: View, status: Status) -> Self {
        Self { view, status, process: Process::read() }
    }

    /// The metrics as text.
    pub(super) fn text(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut metrics = String::new();
        text::encode(&mut metrics, &registry)?;
        Ok(match format {
            Format::OpenMetrics => metrics,
            Format::Prometheus => of_prometheus(&metrics),
        })
    }

    fn of_meters<V>(&self, value: impl Fn(&Meter) -> V) -> Vec<(Labels, V)> {
        let row = |meter: &Meter| (vec![("meter", meter.name.to_string())], value(meter));
        self.view.meters.iter().map(|meter| row(meter)).collect()
    }

    fn sources(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of_status = |value: fn(&crate::store::tallies::SourceStatus) -> i64| {
            let sources = self.status.sources.iter();
            sources.map(move |(name, source)| (source_label(name), count(value(source))))
        };
        counters(out, "meterd_events_read", "Lines read and committed", of_status(|of| of.read))?;
        counters(
            out,
            "meterd_events_ignored",
            "Lines that are not usage, such as blank ones",
            of_status(|of| of.ignored),
        )?;
        let bytes = self
            .view
            .sources
            .iter()
            .map(|source| (source_label(&source.name), source.counters.bytes_read.value()));
        counters(out, "meterd_bytes_read", "Bytes of lines read", bytes)?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 bytes are more than a disk has")]
        let lags = self
            .status
            .sources
            .iter()
            .filter_map(|(name, source)| Some((source_label(name), source.lag_bytes? as f64)));
        let help = "Bytes of files that are not committed, as far as they can be seen";
        gauges(out, "meterd_source_lag_bytes", help, lags)?;
        #[expect(clippy::cast_precision_loss, reason = "a machine has fewer connections")]
        let open =
            self.view.sources.iter().map(|source| {
                (source_label(&source.name), source.counters.connections_open() as f64)
            });
        gauges(out, "meterd_source_connections", "Connections that are open", open)
    }

    fn events(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let meters = || self.status.meters.iter();
        let delivered = meters().map(|(name, meter)| {
            (meter_label(name), count(meter.delivered + meter.refused_after_delivery))
        });
        counters(out, "meterd_events_delivered", "Events with a receipt", delivered)?;
        let dead = self.view.meters.iter().flat_map(|meter| {
            let by_reason = meter.counters.dead_letters.values();
            by_reason.into_iter().map(|(reason, letters)| {
                let mut labels = meter_label(&meter.name);
                labels.push(("reason", reason.name().to_owned()));
                (labels, letters)
            })
        });
        let mut of_no_meter = BTreeMap::new();
        for routing in self.view.sources.iter().filter_map(|source| source.destination.routing()) {
            for (reason, letters) in routing.unrouted.values() {
                *of_no_meter.entry(reason).or_default() += letters;
            }
        }
        let labels = |reason: Reason| {
            let mut labels = meter_label("");
            labels.push(("reason", reason.name().to_owned()));
            labels
        };
        let unrouted = of_no_meter.into_iter().map(|(reason, letters)| (labels(reason), letters));
        let help = "Lines that became dead letters; without a meter: lines for none that is known";
        counters(out, "meterd_events_dead_lettered", help, dead.chain(unrouted))?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 events do not wait")]
        let stored = meters().map(|(name, meter)| (meter_label(name), meter.stored as f64));
        gauges(out, "meterd_events_stored", "Events that wait for delivery", stored)?;
        let oldest =
            meters().map(|(name, meter)| (meter_label(name), meter.oldest_undelivered_seconds));
        gauges(
            out,
            "meterd_oldest_undelivered_seconds",
            "Age of the oldest event that waits",
            oldest,
        )?;
        let states = meters().flat_map(|(name, meter)| {
            [LaneState::Running, LaneState::Retrying, LaneState::Held].map(|state| {
                let mut labels = meter_label(name);
                labels.push(("state", state.name().to_owned()));
                (labels, f64::from(u8::from(meter.state == state.name())))
            })
        });
        gauges(out, "meterd_lane_state", "1 for the state that the lane is in", states)
    }

    /// What the latest comparisons with Mediation came to.
    #[expect(clippy::cast_precision_loss, reason = "2^53 events are not in a day")]
    fn reconciled(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let meters = || self.status.meters.iter();
        let refused =
            meters().map(|(name, meter)| (meter_label(name), count(meter.refused_after_delivery)));
        let help = "Events with a receipt that Mediation refused later";
        counters(out, "meterd_events_refused_after_delivery", help, refused)?;
        let values: [ReconciledValue; 5] = [
            ("timestamp_seconds", "When it was made", |of| of.at.as_millis() as f64 / 1000.0),
            ("even", "1 when nothing waits and nothing is unexplained", |of| {
                f64::from(u8::from(of.even))
            }),
            ("waiting", "Refused events that are dead letters still", |of| of.waiting as f64),
            ("repeats", "Events that Mediation dropped as repeats", |of| of.repeats as f64),
            ("unexplained", "Events that did not come out and were not refused", |of| {
                of.unexplained as f64
            }),
        ];
        for (name, help, value) in values {
            let found = meters().filter_map(|(name, meter)| {
                Some((meter_label(name), value(meter.reconciled.as_ref()?)))
            });
            let help = format!("Of the latest comparison with Mediation: {help}");
            gauges(out, &format!("meterd_reconcile_{name}"), &help, found)?;
        }
        Ok(())
    }

    fn requests(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let requests = self.view.meters.iter().flat_map(|meter| {
            meter.counters.requests.values().into_iter().map(|(status, requests)| {
                let status = status.map_or_else(|| "none".to_owned(), |code| code.to_string());
                let mut labels = meter_label(&meter.name);
                labels.push(("status", status));
                (labels, requests)
            })
        });
        let help = "Requests by the status of their answer; none: no whole answer came";
        counters(out, "meterd_requests", help, requests)?;
        let retries = self.view.meters.iter().flat_map(|meter| {
            meter.counters.retries.values().into_iter().map(|(reason, retries)| {
                let mut labels = meter_label(&meter.name);
                labels.push(("reason", reason.to_owned()));
                (labels, retries)
            })
        });
        counters(out, "meterd_retries", "Requests after which the batch is sent again", retries)?;
        let unknown = self.of_meters(|meter| meter.counters.unknown_outcomes.value());
        let help = "Requests of which it is not known whether Mediation took the batch";
        counters(out, "meterd_unknown_outcomes", help, unknown.into_iter())?;
        let payload = self.of_meters(|meter| meter.counters.payload_bytes.value());
        let help = "Bytes of the JSON arrays in requests";
        counters(out, "meterd_payload_bytes", help, payload.into_iter())?;
        let wire = self.of_meters(|meter| meter.counters.wire_bytes.value());
        let help = "Bytes of the gzip bodies in requests";
        counters(out, "meterd_wire_bytes", help, wire.into_iter())?;
        let name = "meterd_rate_limit_wait_seconds";
        let help = "Time that requests waited for the rate of the tenant, one beside the other";
        let family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(self.view.rate_waits.seconds()).encode(family)?;
        let name = "meterd_request_duration_seconds";
        let help = "From the beginning of a request to its answer";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for meter in &self.view.meters {
            let labels = meter_label(&meter.name);
            meter.counters.request_durations.0.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn store(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "2^53 bytes are more than a disk has")]
        let (bytes, bytes_max) = (self.status.store.bytes as f64, self.view.bytes_max as f64);
        gauge(out, "meterd_store_bytes", "Bytes in use in the store", bytes)?;
        gauge(out, "meterd_store_bytes_max", "At so many bytes sources wait", bytes_max)?;
        let name = "meterd_store_commit_duration_seconds";
        let commits = &self.view.vitals.commits.0;
        let help = "From the beginning of a commit until it is durable";
        commits.encode(out.encode_descriptor(name, help, None, MetricType::Histogram)?)
    }

    fn process(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let build = [(version, 1.0)].into_iter();
        gauges(out, "meterd_build_info", "The version of the program", build)?;
        let Some(process) = &self.process else { return Ok(()) };
        let name = "process_cpu_seconds";
        let help = "Processor time of the process, user and system";
        let family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(process.cpu_seconds).encode(family)?;
        for (name, help, value) in process.gauges() {
            gauge(out, name, help, value)?;
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        self.sources(&mut out)?;
        self.events(&mut out)?;
        self.reconciled(&mut out)?;
        self.requests(&mut out)?;
        self.store(&mut out)?;
        self.process(&mut out)
    }
}

fn counters(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels, f64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in rows {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn meter_label(name: &str) -> Labels {
    vec![("meter", name.to_owned())]
}

fn source_label(name: &str) -> Labels {
    vec![("source", name.to_owned())]
}

/// A sum of the store; it is never negative.
fn count(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

/// OpenMetrics as older scrapers read it: they want the type of `x_total` under that name.
fn of_prometheus(metrics: &str) -> String {
    let mut lines = String::with_capacity(metrics.len());
    // A counter's help comes before its type, so what is a counter has to be known first.
    let counters: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    for line in metrics.lines().filter(|line| *line != "# EOF") {
        let comment = ["# HELP ", "# TYPE "].iter().find_map(|kind| {
            let rest = line.strip_prefix(kind)?;
            let (name, rest) = rest.split_once(' ')?;
            Some((*kind, name, rest))
        });
        match comment {
            Some((kind, name, rest)) if counters.contains(&name) => {
                // Writing to a string does not fail.
                let _ = write!(lines, "{kind}{name}_total {rest}");
            }
            _ => lines.push_str(line),
        }
        lines.push('\n');
    }
    lines
}
