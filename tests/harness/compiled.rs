//! Test code in C, for what no safe Rust can do.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Result, fail};

/// Builds `source` of this folder with the system's compiler; gives the path of what comes out,
/// whose name begins with `name`.
pub(crate) fn compiled(source: &str, name: &str, options: &[&str]) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness").join(source);
    // Two test runs at one time must not read what the other one is writing.
    let name = format!("{name}-{}", std::process::id());
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let built = Command::new("cc")
        .args(["-O1", "-Wall", "-Werror", "-o"])
        .arg(&output)
        .arg(source)
        .args(options)
        .output()?;
    if !built.status.success() {
        return fail(String::from_utf8_lossy(&built.stderr));
    }
    Ok(output)
}
