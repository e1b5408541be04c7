//! A network of its own: a loopback that no other test sees, on which packets go astray as nftables
//! is told. That takes root, ip and nft; where one is missing, the test has to say so.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Result, fail};

/// Distinguishes the networks of one process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network. It is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
}

impl Network {
    /// A network with a loopback. The error says what is missing for that.
    pub(crate) fn new() -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("meterd-{}-{number}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let network = Self { name };
        run(Command::new("ip").args(["-n", &network.name, "link", "set", "lo", "up"]))?;
        // Fails where there is no nft.
        network.filter("")?;
        Ok(network)
    }

    /// Does `work` on a thread whose sockets and programs are in this network.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let network = File::open(format!("/run/netns/{}", self.name))?;
        std::thread::scope(|scope| {
            let moved = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            moved.join().map_err(|_| "the work in the network panicked")?
        })
    }

    /// Takes `rules` of nftables for packets that arrive, a line each, in place of those in force.
    pub(crate) fn filter(&self, rules: &str) -> Result {
        let rules = format!(
            "add table ip troubles\ndelete table ip troubles\nadd table ip troubles\n\
             add chain ip troubles arriving {{ type filter hook input priority 0; }}\n{}",
            rules.lines().fold(String::new(), |all, rule| {
                all + "add rule ip troubles arriving " + rule + "\n"
            })
        );
        run(Command::new("ip").args(["netns", "exec", &self.name, "nft", &rules]))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its sockets keep it until they are closed.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

fn run(command: &mut Command) -> Result {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    fail(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
