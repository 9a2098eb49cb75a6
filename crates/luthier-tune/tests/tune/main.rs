//! Samplers as a study uses them: how good their proposals are, and how long they take.

mod functions;
mod lists;
mod pruners;
mod quality;
mod several;
mod speed;
