//! What becomes of the steps of the data plane: records of the log in the areas that want them, and lines on standard
//! error if the variable `PYLAE_LOG` is set.

use std::sync::Arc;

use pylae_core::Problem;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use super::log::Log;
use super::log::steps::{self, AreaFilter, StepLayer};
use super::stderr::StandardError;

/// The environment variable with the filter.
const VARIABLE: &str = "PYLAE_LOG";
/// The target under which `h2` writes malformed requests, with queries and credentials. Never below `info`.
const REVEALING: &str = "h2::server";

/// Lets steps become records of this log, and installs the subscriber as the environment says. Only the first engine of
/// a process does the latter.
pub(crate) fn install(log: &Arc<Log>) -> Result<(), Vec<Problem>> {
    steps::add(log);
    let wanted = std::env::var_os(VARIABLE).filter(|wanted| !wanted.is_empty());
    let targets = wanted.map(|wanted| read(&wanted.to_string_lossy())).transpose();
    let targets = targets.map_err(|problem| vec![problem])?;
    let records = tracing_subscriber::registry().with(StepLayer.with_filter(AreaFilter));
    // Fails if another subscriber is installed already.
    let _ = match targets {
        None => tracing::subscriber::set_global_default(records),
        Some(targets) => {
            let written = fmt::layer()
                .with_writer(|| StandardError)
                .with_thread_names(true)
                // They would go past the queue.
                .log_internal_errors(false);
            tracing::subscriber::set_global_default(records.with(written.with_filter(targets)))
        }
    };
    Ok(())
}

/// Parses levels by target, as in `debug` or `pylae_proxy=debug,h2=info`.
fn read(wanted: &str) -> Result<Targets, Problem> {
    let mut targets = Targets::new();
    for part in wanted.split(',').map(str::trim) {
        targets = match part.split_once('=') {
            Some((target, name)) if !target.is_empty() => targets.with_target(target, level(name)?),
            _ => targets.with_default(level(part)?),
        };
    }
    Ok(targets.with_target(REVEALING, LevelFilter::INFO))
}

fn level(name: &str) -> Result<LevelFilter, Problem> {
    let known = Some(name).filter(|name| name.starts_with(char::is_alphabetic)).and_then(|name| name.parse().ok());
    known.ok_or_else(|| {
        let wrong = format!("the environment variable {VARIABLE}: `{name}` is not a level");
        let right = "off, error, warn, info, debug and trace are; write `debug`, or `pylae_proxy=debug,h2=info`";
        Problem::at("", format!("{wrong}; {right}"))
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_applies_to_all_targets_without_one_of_their_own() {
        let targets = read("debug, h2=info,h2::hpack=OFF").unwrap();
        assert!(targets.would_enable("pylae_proxy::flow", &Level::DEBUG));
        assert!(!targets.would_enable("pylae_proxy::flow", &Level::TRACE));
        assert!(targets.would_enable("h2::codec", &Level::INFO));
        assert!(!targets.would_enable("h2::codec", &Level::DEBUG));
        assert!(!targets.would_enable("h2::hpack", &Level::ERROR));
        assert!(!read("pylae_proxy=debug").unwrap().would_enable("h2", &Level::ERROR));
    }

    #[test]
    fn targets_that_reveal_queries_are_not_written() {
        for wanted in ["trace", "h2=trace", "h2::server=trace"] {
            assert!(!read(wanted).unwrap().would_enable("h2::server", &Level::DEBUG), "{wanted}");
        }
    }

    #[test]
    fn an_invalid_filter_is_reported_with_an_example() {
        for (wanted, name) in [
            ("debgu", "debgu"),
            ("pylae_proxy", "pylae_proxy"),
            ("h2=loud", "loud"),
            ("debug,", ""),
            ("h2=", ""),
            ("=debug", "=debug"),
            ("4", "4"),
        ] {
            let problem = read(wanted).unwrap_err();
            assert_eq!(
                problem.message,
                format!(
                    "the environment variable PYLAE_LOG: `{name}` is not a level; off, error, warn, info, \
                     debug and trace are; write `debug`, or `pylae_proxy=debug,h2=info`"
                )
            );
        }
    }
}
