//! Following real files in a temporary folder, with the chunks committed as they come.

mod rig;

mod archives;
mod follow;
mod restart;
mod rotation;
