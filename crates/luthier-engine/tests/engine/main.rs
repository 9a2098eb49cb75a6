//! Runs graphs, with and without trees.

mod forests;
mod malformed;
mod run;
