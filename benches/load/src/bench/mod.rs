//! The whole benchmark: servers side by side, row after row, run after run.

pub mod dovecot;
pub mod plot;
pub mod report;
pub mod results;
pub mod rows;
pub mod runner;
pub mod servers;
