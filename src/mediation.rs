//! What Mediation's answers say: the forms of its bodies and its codes.

pub mod answer;
