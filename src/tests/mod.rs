//! Tests of the whole store on the simulated disk, which only the crate itself can reach.

#[cfg(feature = "tokio")]
mod asynchronous;
mod backup;
mod batches;
mod conditional;
mod crashes;
mod durability;
mod expiry;
mod failures;
mod feed;
mod following;
mod fuzzing;
mod hazards;
mod iteration;
#[cfg(all(feature = "serde", feature = "tokio"))]
mod layers;
mod looks;
mod many_segments;
mod model;
mod openings;
mod ranges;
mod read_only;
mod reader;
mod reading;
mod removal;
mod repair;
mod replica;
mod rules;
mod snapshots;
mod stats;
mod support;
mod taken_back;
mod upkeep;
mod verify;
mod watching;
