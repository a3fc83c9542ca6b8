//! Steps of the data plane as records of the log, at level `debug`, in the areas that are set to it. With none set, a
//! step costs what it costs without a subscriber: one comparison.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::area::LogArea;
use super::{Log, Record};

/// Most steps that become records within a second, so that what reads them leaves time for requests.
const MOST: u64 = 2000;
const SPAN: Duration = Duration::from_secs(1);
/// Most bytes of a field's value.
const MAX_VALUE: usize = 512;

/// The areas whose steps are records, one bit each.
static WANTED: AtomicU32 = AtomicU32::new(0);
/// The logs of the engines of the process. Steps go to the first of those that are left: all have the same reader.
static LOGS: Mutex<Vec<Weak<Log>>> = Mutex::new(Vec::new());
static QUOTA: Mutex<Quota> = Mutex::new(Quota { began: None, taken: 0, left_out: 0 });

/// Makes the steps of these areas records of the log, and no others. Holds for the process, from the next step on.
pub fn set_log_steps(areas: impl IntoIterator<Item = LogArea>) {
    let wanted = areas.into_iter().fold(0, |bits, area| bits | bit(area));
    if WANTED.swap(wanted, Ordering::Relaxed) != wanted {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Lets steps go to `log` too, as long as it is there.
pub(crate) fn add(log: &Arc<Log>) {
    let mut logs = LOGS.lock();
    logs.retain(|log| log.strong_count() > 0);
    logs.push(Arc::downgrade(log));
}

fn bit(area: LogArea) -> u32 {
    1 << area as u32
}

/// How many steps became records within the present second.
struct Quota {
    began: Option<Instant>,
    taken: u64,
    left_out: u64,
}

impl Quota {
    /// Takes one. Returns None if there is none left, or else how many were left out since the last one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.duration_since(began) >= SPAN) {
            (self.began, self.taken) = (Some(now), 0);
        }
        if self.taken == MOST {
            self.left_out += 1;
            return None;
        }
        self.taken += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Lets the steps of the wanted areas pass.
pub(crate) struct AreaFilter;

impl AreaFilter {
    fn passes(metadata: &Metadata<'_>) -> bool {
        let wanted = WANTED.load(Ordering::Relaxed);
        let fits = || LogArea::of_target(metadata.target()).is_some_and(|area| wanted & bit(area) != 0);
        wanted != 0 && metadata.is_event() && *metadata.level() <= Level::DEBUG && fits()
    }
}

impl<S> Filter<S> for AreaFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::passes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::passes(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if WANTED.load(Ordering::Relaxed) == 0 { LevelFilter::OFF } else { LevelFilter::DEBUG })
    }
}

/// Makes records of steps.
pub(crate) struct StepLayer;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for StepLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(area) = LogArea::of_target(event.metadata().target()) else { return };
        let log = LOGS.lock().iter().find_map(Weak::upgrade);
        let Some(log) = log else { return };
        let Some(left_out) = QUOTA.lock().take(Instant::now()) else { return };
        if left_out > 0 {
            let message = format!("{left_out} debug records were left out: at most {MOST} are written in a second");
            log.write("warning", "steps_left_out", message);
        }
        let mut step = StepText::default();
        event.record(&mut step);
        let StepText { mut message, fields } = step;
        for (name, value) in &fields {
            // Writing to a string cannot fail.
            let _ = write!(message, " {name}={value}");
        }
        log.push(Record { level: "debug", area, event: "step", message, fields });
    }
}

/// What a step says.
#[derive(Default)]
struct StepText {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for StepText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded(String::new());
        // It fails where the bound cuts it.
        let _ = write!(text, "{value:?}");
        match field.name() {
            "message" => self.message = text.0,
            name => self.fields.push((name, text.0)),
        }
    }
}

/// A text that is cut after [`MAX_VALUE`] bytes.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_VALUE - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        self.0.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use tracing::debug;
    use tracing_subscriber::prelude::*;

    use super::*;

    #[test]
    fn steps_of_wanted_areas_are_records_and_others_cost_nothing() {
        let log = Arc::<Log>::default();
        add(&log);
        let subscriber = tracing_subscriber::registry().with(StepLayer.with_filter(AreaFilter));
        tracing::subscriber::with_default(subscriber, || {
            let steps = || {
                debug!(target: "pylae_proxy::upstream::connect", id = "k3v", number = 2, "attempt begun");
                debug!(target: "pylae_proxy::flow::route", "route chosen");
                debug!(target: "h2::server", "a frame");
                tracing::trace!(target: "pylae_proxy::upstream", "more than a step");
            };
            steps();
            assert!(log.take().unwrap().is_empty());
            set_log_steps([LogArea::Upstream]);
            steps();
            set_log_steps([]);
            steps();
        });
        let records = log.take().unwrap();
        let [Record { level: "debug", area: LogArea::Upstream, event: "step", message, fields }] = &records[..] else {
            panic!("{records:?}")
        };
        assert_eq!(message, "attempt begun id=k3v number=2");
        assert_eq!(fields[..], [("id", "k3v".to_owned()), ("number", "2".to_owned())]);
    }

    #[test]
    fn a_second_has_a_bound_and_the_next_says_what_was_left_out() {
        let mut quota = Quota { began: None, taken: 0, left_out: 0 };
        let now = Instant::now();
        for _ in 0..MOST {
            assert_eq!(quota.take(now), Some(0));
        }
        assert_eq!(quota.take(now), None);
        assert_eq!(quota.take(now + SPAN / 2), None);
        assert_eq!(quota.take(now + SPAN), Some(2));
        assert_eq!(quota.take(now + SPAN), Some(0));
    }

    #[test]
    fn values_are_cut() {
        let mut text = Bounded(String::new());
        assert!(write!(text, "{}", "ü".repeat(300)).is_err());
        assert_eq!(text.0.chars().count(), MAX_VALUE / 2 + 1);
    }
}
