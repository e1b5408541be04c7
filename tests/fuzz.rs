//! The targets of `fuzz/` with every file of `fuzz/seeds`, by the ordinary toolchain: what fuzzing has
//! found once is tried for ever.

#[path = "../fuzz/targets/targets.rs"]
mod targets;

use std::error::Error;
use std::path::Path;

use targets::{TARGETS, Target};

fn replay(name: &str) -> Result<(), Box<dyn Error>> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let &(_, target): &(_, Target) = found.ok_or("there is no such target")?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut seeds = 0;
    for entry in std::fs::read_dir(directory)? {
        let bytes = std::fs::read(entry?.path())?;
        target(&bytes);
        // Cut off anywhere, it is another input.
        let steps = (bytes.len() / 200).max(1);
        (0..bytes.len()).step_by(steps).for_each(|end| target(&bytes[..end]));
        seeds += 1;
    }
    assert!(seeds > 0, "there are no seeds");
    Ok(())
}

macro_rules! replays {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() -> Result<(), Box<dyn Error>> {
                replay(stringify!($name))
            }
        )*

        #[test]
        fn no_target_is_left_out() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

replays!(answers, body, configuration, formats, framing, json, split, times);
