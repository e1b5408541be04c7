//! A meter that exists in the simulator, and texts without what differs from run to run.

use meterd::simulator::{MeterSettings, Settings};

use super::Config;

/// A simulator with the meter 97, which runs and takes the events of every configuration here.
/// The schema is looked at after the 200 only.
pub(crate) fn settings() -> Settings {
    let meter = MeterSettings { id: 97, global_id: "g1".to_owned(), definition: None };
    Settings { meters: vec![meter], schema_check: false, ..Settings::default() }
}

/// A configuration that knows the meter's id.
pub(crate) fn config(base_url: &str, sources: impl Into<String>) -> Config {
    let config = Config::new(base_url, sources);
    Config { meter: format!("{}\nid = 97", config.meter), ..config }
}

/// The same, with the meter's schema from its export.
pub(crate) fn contract(base_url: &str, sources: impl Into<String>) -> Config {
    let config = config(base_url, sources);
    let schema = "schema = { from = \"export\", refresh = \"100ms\" }";
    Config { meter: format!("{}\n{schema}", config.meter), ..config }
}

/// `text` with the address as HOST, ids of requests and forms as hashes, and times as `(time)`.
pub(crate) fn steady(text: &str, url: &str) -> String {
    let address = url.trim_start_matches("http://");
    let text = text.replace(address, "HOST");
    let lines = text.lines().map(|line| masked_times(&masked_hashes(line)));
    lines.collect::<Vec<_>>().join("\n")
}

/// `text` without the times of queries, where a command has chosen them.
pub(crate) fn masked_span(text: &str) -> String {
    let mut parts = text.split("Time=");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('&').unwrap_or_default();
        masked.extend(["Time=(time)&", rest]);
    }
    masked
}

/// 16 or 32 hex digits behind `meterd-` or `meterd-api-`.
fn masked_hashes(line: &str) -> String {
    let mut parts = line.split("meterd-");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (api, rest) = part.strip_prefix("api-").map_or(("", part), |rest| ("api-", rest));
        let end = rest.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(rest.len());
        masked.extend(["meterd-", api, "#", &rest[end..]]);
    }
    masked
}

/// The value of a key that holds a time.
fn masked_times(line: &str) -> String {
    const KEYS: [&str; 6] =
        ["startTime", "requestTime", "createdAt", "updatedAt", "errorTime", "timestamp"];
    let mut masked = line.to_owned();
    for key in KEYS {
        for opening in [format!("\"{key}\": \""), format!("\"{key}\":\"")] {
            if let Some(at) = masked.find(&opening) {
                let start = at + opening.len();
                let end = masked[start..].find('"').map_or(masked.len(), |end| start + end);
                masked.replace_range(start..end, "(time)");
            }
        }
    }
    masked
}
