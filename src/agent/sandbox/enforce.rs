//! The kernel's side: rules become a Landlock domain of this process.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    NetPort, PathBeneath, PathFd, PathFdError, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::{Access, PathRule, Rules, Use};
use crate::agent::Settings;
use crate::source;

/// What is restricted where the kernel can. What later kernels can restrict was not tried.
const TRIED: ABI = ABI::V6;

/// What became of it.
#[derive(Debug)]
pub enum State {
    /// `agent.sandbox` is false.
    Off,
    /// The kernel cannot, or may not be asked.
    Unsupported,
    /// It holds.
    Enforced {
        /// The version of the kernel's interface.
        version: i32,
        /// Whether the kernel can restrict all that was asked for.
        is_full: bool,
        /// What is let in because what is named beneath it is not there yet.
        above: Vec<PathBuf>,
    },
    /// Nothing holds.
    Failed(Error),
}

/// Why it could not be put up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path cannot be opened.
    #[error(transparent)]
    Path(#[from] PathFdError),
    /// The kernel refused.
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
}

/// What holds for this process until it ends.
#[derive(Debug)]
pub struct Sandbox {
    rules: Rules,
    /// Whether it was asked for.
    is_wanted: bool,
    /// What became of it.
    pub state: State,
    /// A rule is for an inode, and that of this directory lasts as long as somebody has it open.
    _process: Option<PathFd>,
}

impl Sandbox {
    /// Restricts this thread, and those that it starts from now on, to what `settings` name. The state
    /// directory has to be there.
    #[must_use]
    pub fn enforce(settings: &Settings, environment: &HashMap<String, String>) -> Self {
        let rules = Rules::new(settings, environment);
        let is_wanted = settings.sandbox.is_wanted;
        let process = PathFd::new("/proc/self").ok();
        let state = if is_wanted {
            restrict(&rules, settings, environment).unwrap_or_else(State::Failed)
        } else {
            State::Off
        };
        Self { rules, is_wanted, state, _process: process }
    }

    /// What of `settings` cannot hold before a restart, in words.
    pub fn refused(
        &self,
        settings: &Settings,
        environment: &HashMap<String, String>,
    ) -> Vec<String> {
        if settings.sandbox.is_wanted != self.is_wanted {
            return vec!["agent.sandbox: it is put up with the start: restart to change it".into()];
        }
        match self.state {
            State::Off | State::Unsupported | State::Failed(_) => Vec::new(),
            State::Enforced { .. } => self.rules.refused(&Rules::new(settings, environment)),
        }
    }
}

/// The domain, or why there is none.
fn restrict(
    rules: &Rules,
    settings: &Settings,
    environment: &HashMap<String, String>,
) -> Result<State, Error> {
    // Before version 2 a file could not be moved to another directory at all, as sockets are.
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let Ok(ruleset) = ruleset.handle_access(AccessFs::Refer) else { return Ok(State::Unsupported) };
    let mut ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(TRIED))?
        .handle_access(AccessNet::from_all(TRIED))?
        .scope(Scope::Signal)?;
    let notify = environment.get("NOTIFY_SOCKET");
    if !notify.is_some_and(|socket| socket.starts_with('@')) {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    let mut created = ruleset.create()?;
    let (present, above) = present(rules);
    for (path, access) in present.into_iter().chain(linked(settings)) {
        created = let_in(created, &path, access)?;
    }
    for port in &rules.ports {
        let access = match port.r#use {
            Use::Connect => AccessNet::ConnectTcp,
            Use::Listen => AccessNet::BindTcp,
        };
        created = created.add_rule(NetPort::new(port.number, access))?;
    }
    Ok(state(&created.restrict_self()?, above))
}

fn state(status: &RestrictionStatus, above: Vec<PathBuf>) -> State {
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.unwrap_or(effective_abi as i32)
        }
        _ => return State::Unsupported,
    };
    let is_full = status.ruleset == RulesetStatus::FullyEnforced;
    State::Enforced { version, is_full, above }
}

/// The paths of `rules` that are there, and of those that may come later what is above them.
fn present(rules: &Rules) -> (BTreeSet<(PathBuf, Access)>, Vec<PathBuf>) {
    let (mut present, mut above) = (BTreeSet::new(), Vec::new());
    for PathRule { path, access, is_awaited, .. } in &rules.paths {
        if path.exists() {
            present.insert((path.clone(), *access));
        } else if *is_awaited
            && let Some(nearest) = path.ancestors().find(|nearest| nearest.is_dir())
        {
            present.insert((nearest.to_owned(), *access));
            above.push(nearest.to_owned());
        }
    }
    (present, above)
}

/// The directories to which links among the files of sources lead now.
fn linked(settings: &Settings) -> BTreeSet<(PathBuf, Access)> {
    let mut linked = BTreeSet::new();
    for source in &settings.sources {
        let source::Settings::File(file) = &source.settings else { continue };
        let access = if file.remove_after.is_some() { Access::Remove } else { Access::Read };
        let starts = file.starts().unwrap_or_default();
        let starts: Vec<PathBuf> =
            starts.iter().filter_map(|start| start.canonicalize().ok()).collect();
        // A pattern without a meaning fails with its source, and is named there.
        let present = file.present().unwrap_or_default();
        let is_beyond =
            |directory: &PathBuf| !starts.iter().any(|start| directory.starts_with(start));
        linked.extend(present.into_iter().filter(is_beyond).map(|directory| (directory, access)));
    }
    linked
}

fn let_in(ruleset: RulesetCreated, path: &Path, access: Access) -> Result<RulesetCreated, Error> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let remove = make_bitflags!(AccessFs::{RemoveFile | MakeReg});
    let write = make_bitflags!(AccessFs::{WriteFile | Truncate});
    let access = match access {
        Access::Read => read,
        // It is renamed before it is removed.
        Access::Remove => read | remove,
        // It is made in a directory of its own, and then moved.
        Access::Sockets => {
            make_bitflags!(AccessFs::{MakeSock | MakeDir | RemoveDir | RemoveFile | Refer})
        }
        Access::Store => read | remove | write,
    };
    let path_fd = PathFd::new(path)?;
    let access: BitFlags<AccessFs> =
        if path.is_dir() { access } else { access & AccessFs::from_file(TRIED) };
    Ok(ruleset.add_rule(PathBeneath::new(path_fd, access))?)
}
