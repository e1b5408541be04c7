//! A file system of its own, of which the power can be cut.
//!
//! It lies in a file, on a loop device. That takes root, mount and mkfs; where one is missing, the
//! test has to say so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::{Result, compiled, fail, until};

/// How much room there is.
const IMAGE_BYTES: u64 = 320 << 20;

/// How much there is on a small one.
const SMALL_BYTES: u64 = 24 << 20;

/// How a file system is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Ext4,
    /// With inodes that have no room for the time of a file's birth.
    Ext4Unborn,
    /// With little room and few inodes, which takes no writes once there was an error.
    Ext4Small,
    Xfs,
}

/// What a cut leaves of the file system's own log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Everything that it was asked to do, though not what files hold.
    LogWritten,
    /// What was synced.
    LogLost,
}

/// A mounted file system. It is unmounted when it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: TempDir,
    /// The loop device. One for all mounts: a second one would have a cache of its own.
    device: String,
}

impl Disk {
    /// Makes and mounts one. The error says what is missing for that.
    pub(crate) fn new(kind: Kind) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let image = directory.path().join("image");
        let is_small = matches!(kind, Kind::Ext4Small);
        std::fs::File::create(&image)?.set_len(if is_small { SMALL_BYTES } else { IMAGE_BYTES })?;
        let make: &[&str] = match kind {
            Kind::Ext4 => &["mkfs.ext4", "-q", "-F"],
            Kind::Ext4Unborn => &["mkfs.ext4", "-q", "-F", "-I", "128"],
            Kind::Ext4Small => {
                &["mkfs.ext4", "-q", "-F", "-m", "0", "-N", "64", "-e", "remount-ro"]
            }
            Kind::Xfs => &["mkfs.xfs", "-q", "-f"],
        };
        run(Command::new(make[0]).args(&make[1..]).arg(&image))?;
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
        let disk = Self { directory, device: device.trim().to_owned() };
        std::fs::create_dir(disk.path())?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Cuts the power and puts it on again. Nobody may have a file open on it.
    pub(crate) fn cut(&self, cut: Cut) -> Result {
        let flag = match cut {
            Cut::LogWritten => "1",
            Cut::LogLost => "2",
        };
        run(Command::new(shutdown()?).arg(self.path()).arg(flag))?;
        // A program of another test that has begun meanwhile in a name space of its own may hold what was
        // mounted: it would be mounted again as it is, without power.
        until("the disk to have power again", || {
            run(Command::new("umount").arg(self.path()))?;
            self.mount()?;
            let probe = self.path().join("probe");
            Ok(std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(probe)).ok())
        })
    }

    /// Has the file system find an error, for which it takes no writes any more.
    pub(crate) fn go_read_only(&self) -> Result {
        let name = self.device.rsplit('/').next().unwrap_or_default();
        let path = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        std::fs::write(&path, "1").map_err(|error| format!("{path}: {error}").into())
    }

    /// Takes it off and mounts it again. Nobody may have a file open on it.
    pub(crate) fn mount_again(&self) -> Result {
        run(Command::new("umount").arg(self.path()))?;
        // What a person would do about an error; it ends with 1 when it mended one.
        Command::new("e2fsck").args(["-p", "-f", &self.device]).output()?;
        self.mount()
    }

    /// Takes it off and mounts it under another device number. Nobody may have a file open on it.
    pub(crate) fn renumber(&mut self) -> Result {
        run(Command::new("umount").arg(self.path()))?;
        let image = self.directory.path().join("image");
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(image))?;
        let before = std::mem::replace(&mut self.device, device.trim().to_owned());
        run(Command::new("losetup").arg("--detach").arg(before))?;
        self.mount()
    }

    fn mount(&self) -> Result {
        run(Command::new("mount").arg(&self.device).arg(self.path())).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may never have been mounted.
        let _ = Command::new("umount").arg(self.path()).output();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
    }
}

/// What the command printed.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    fail(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn shutdown() -> Result<&'static Path> {
    static PROGRAM: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM
        .get_or_init(|| compiled("shutdown.c", "shutdown", &[]).map_err(|error| error.to_string()));
    program.as_deref().map_err(|error| error.clone().into())
}
