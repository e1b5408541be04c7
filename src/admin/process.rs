//! What the kernel says of this process, under the names that every exporter uses.

use std::fs;

/// Numbers of this process.
#[derive(Debug)]
pub(super) struct Process {
    /// User and system time.
    pub(super) cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    start_seconds: f64,
    open_files: f64,
    open_files_max: Option<f64>,
}

impl Process {
    /// Reads `/proc`; none where there is none.
    pub(super) fn read() -> Option<Self> {
        let ticks = rustix::param::clock_ticks_per_second();
        let page = rustix::param::page_size();
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in brackets, may hold anything.
        let (_, behind_name) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        // Numbered as in proc(5), where the state behind the name is 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        #[expect(clippy::cast_precision_loss, reason = "some hundreds, and some thousands")]
        let (ticks, page) = (ticks as f64, page as f64);
        #[expect(clippy::cast_precision_loss, reason = "a process has fewer files")]
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count() as f64;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page,
            start_seconds: boot_seconds()? + field(22)? / ticks,
            open_files,
            open_files_max: open_files_max(),
        })
    }

    /// Names, what they mean, and values.
    pub(super) fn gauges(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        let always = [
            ("process_resident_memory_bytes", "Memory in use", self.resident_bytes),
            ("process_virtual_memory_bytes", "Address space in use", self.virtual_bytes),
            (
                "process_start_time_seconds",
                "When the process began, since 1970",
                self.start_seconds,
            ),
            ("process_open_fds", "Open files and sockets", self.open_files),
        ];
        let limit =
            self.open_files_max.map(|max| ("process_max_fds", "How many there may be", max));
        always.into_iter().chain(limit)
    }
}

/// When the machine began, in seconds since 1970.
fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok())
}

fn open_files_max() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_begun_lately_and_uses_something() {
        let process = Process::read().expect("a /proc");
        let now = crate::clock::Timestamp::now().as_millis() / 1000;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let age = now as f64 - process.start_seconds;
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!(process.resident_bytes > 1e6 && process.virtual_bytes > process.resident_bytes);
        assert!(process.open_files >= 3.0 && process.cpu_seconds >= 0.0);
    }
}
