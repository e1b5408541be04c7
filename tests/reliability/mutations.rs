//! Bits, ends and tails of the store's files that are not what was written: nothing is lost without a
//! word, nothing ends by itself again and again, and what can be read comes out, counted.
//!
//! `METERD_IT_SEED` draws the same places again, but times, ids and the order of some commits are others in
//! each store. So a mutation that fails is printed with the folder of its store, which is kept:
//! `METERD_IT_MUTATION="FOLDER KIND FILE BYTE BIT"` plays that one alone, in those very bytes, in whichever of the
//! tests is asked for.

mod base;
mod trial;

use std::path::{Path, PathBuf};

use crate::harness::seed::{is_full, say, seed};
use crate::harness::{Result, Sim, fail};
use crate::scorecard::Scored;
use base::{Base, Kind, Mutation};
use trial::{Figures, Trial};

/// Plays one mutation of a store that was kept.
const MUTATION_VARIABLE: &str = "METERD_IT_MUTATION";

const MUTATIONS_SHORT: usize = 10;
const MUTATIONS_FULL: usize = 670;

fn mutate(kind: Kind, part: &'static str) -> Result {
    if let Ok(mutation) = std::env::var(MUTATION_VARIABLE) {
        return again(&mutation);
    }
    let scored = Scored::begin("L7", part)?;
    let seed = seed()?;
    let bases = [Base::new(true)?, Base::new(false)?];
    let mut failed = [Vec::new(), Vec::new()];
    let mut figures = Figures::default();
    for turn in 0..if is_full() { MUTATIONS_FULL } else { MUTATIONS_SHORT } {
        let base = &bases[turn % 2];
        // Of its own: how much the one before drew hangs on its store.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(turn as u64));
        let mutation = base.draw(kind, &mut random)?;
        let trial = Trial { base, sim: Sim::start()?, mutation };
        if let Err(error) = trial.play(&mut figures) {
            failed[turn % 2].push((trial.mutation, error.to_string()));
        }
        figures.mutations += 1;
    }
    let mut failures = Vec::new();
    for (base, failed) in bases.into_iter().zip(failed).filter(|(_, failed)| !failed.is_empty()) {
        let folder = base.folder.keep();
        for (mutation, error) in failed {
            let folder = folder.display();
            failures.push(format!("{error}\n{MUTATION_VARIABLE}=\"{folder} {mutation}\""));
        }
    }
    if !failures.is_empty() {
        return fail(format!("{} failed:\n{}", failures.len(), failures.join("\n")));
    }
    scored.shown(&words(&figures))
}

/// Plays what `FOLDER KIND FILE BYTE BIT` says.
fn again(text: &str) -> Result {
    let (folder, mutation) = text.split_once(' ').ok_or("a folder and a mutation")?;
    let (base, mutation) = (Base::again(Path::new(folder))?, mutation.parse::<Mutation>()?);
    let mut figures = Figures::default();
    let played = Trial { base: &base, sim: Sim::start()?, mutation }.play(&mut figures);
    let kept: PathBuf = base.folder.keep();
    say(&format!("{figures:?}; the last state is in {}", kept.display()));
    played
}

fn words(figures: &Figures) -> String {
    let Figures { mutations, unharmed, told, salvaged, unreadable, .. } = figures;
    let Figures { missing, bounded, uncounted, repeated, .. } = figures;
    format!(
        "{mutations} mutations, lost without a word 0, panics 0, waits without a word 0: {unharmed} did no \
         harm, {told} were delivered and told, {salvaged} salvaged ({missing} events missing, each counted, \
         {bounded} times with a bound instead of a number; {uncounted} of a connection gone with commits of the \
         log, as was said; {repeated} came again, as was said), {unreadable} refused and nothing readable; \
         0 had events come again without a word"
    )
}

#[test]
fn a_flipped_bit_of_the_store_loses_nothing_without_a_word() -> Result {
    mutate(Kind::Flip, "bit flips")
}

#[test]
fn a_store_that_was_cut_off_loses_nothing_without_a_word() -> Result {
    mutate(Kind::Truncate, "truncations")
}

#[test]
fn a_store_with_a_tail_of_zeros_loses_nothing_without_a_word() -> Result {
    mutate(Kind::ZeroTail, "zeroed tails")
}
