//! Per-exchange state of features, each in a slot of its own, so that the exchange knows none of them.

use std::any::Any;
use std::fmt::Debug;

/// The features with per-exchange state. Each names its slot; this is the only list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureSlot {
    /// [`request::grpc`](crate::request::grpc)
    Grpc,
    /// [`limit`](crate::limit)
    Limit,
    /// [`cache`](crate::cache)
    Cache,
    /// [`hook`](crate::hook)
    Hook,
    /// [`location`](crate::location)
    Location,
    /// [`route::Split`](crate::route::Split)
    Split,
    /// [`expression`](crate::expression)
    Expression,
    /// [`request::session`](crate::request::session)
    Session,
    /// [`trace`](crate::trace)
    Trace,
    /// [`timing`](super::timing)
    Timing,
}

const POSITIONS: usize = FeatureSlot::Timing as usize + 1;

/// Per-exchange state of a feature. It stays with the exchange object, which serves one request after another, so that
/// its memory is reused.
pub trait FeatureMemory: Any + Debug + Send {
    /// Returns to the initial state.
    fn reset(&mut self);
}

/// The state of one feature, with its slot.
pub trait Feature: FeatureMemory + Default {
    /// The slot that holds it.
    const POSITION: FeatureSlot;
}

/// All slots of an exchange. An unused slot takes no memory.
#[derive(Debug, Default)]
pub struct Slots([Option<Box<dyn FeatureMemory>>; POSITIONS]);

impl Slots {
    /// Returns the feature's state, if the feature has ever used this object.
    #[inline]
    pub fn get<T: Feature>(&self) -> Option<&T> {
        let memory: &dyn Any = self.0[T::POSITION as usize].as_deref()?;
        memory.downcast_ref()
    }

    /// Returns the feature's state for changing, if the feature has ever used this object.
    #[inline]
    pub fn get_mut<T: Feature>(&mut self) -> Option<&mut T> {
        let memory: &mut dyn Any = self.0[T::POSITION as usize].as_deref_mut()?;
        memory.downcast_mut()
    }

    /// Returns the feature's state, and creates it on first use.
    ///
    /// # Panics
    /// If another type uses the same slot.
    pub fn get_or_default<T: Feature>(&mut self) -> &mut T {
        let memory: &mut dyn Any = &mut **self.0[T::POSITION as usize].get_or_insert_with(|| Box::new(T::default()));
        let Some(memory) = memory.downcast_mut() else { unreachable!("{:?} belongs to another type", T::POSITION) };
        memory
    }

    /// Takes the feature's state out of its slot, and creates it on first use, so that a function can use it beside the
    /// exchange. It comes back with [`put`](Self::put).
    #[inline]
    #[expect(clippy::unnecessary_box_returns, reason = "the box goes back into its slot")]
    pub(crate) fn take<T: Feature>(&mut self) -> Box<T> {
        let memory: Option<Box<dyn Any>> = self.0[T::POSITION as usize].take().map(|memory| memory as Box<dyn Any>);
        memory.and_then(|memory| memory.downcast().ok()).unwrap_or_default()
    }

    /// Puts the feature's state back into its slot.
    #[inline]
    pub(crate) fn put<T: Feature>(&mut self, memory: Box<T>) {
        self.0[T::POSITION as usize] = Some(memory);
    }

    /// Swaps the feature's state between two exchanges.
    pub fn swap<T: Feature>(&mut self, other: &mut Self) {
        let position = T::POSITION as usize;
        std::mem::swap(&mut self.0[position], &mut other.0[position]);
    }

    /// Resets the state of all features.
    pub(super) fn reset(&mut self) {
        self.0.iter_mut().flatten().for_each(|memory| memory.reset());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CacheVisit;
    use crate::exchange::timing::PolicyTimings;
    use crate::expression::FailedExpressions;
    use crate::hook::HookVisit;
    use crate::limit::Admitted;
    use crate::location::RecordedAsked;
    use crate::request::grpc::DetectedCall;
    use crate::request::session::RecordedNoSession;
    use crate::route::ChosenMember;
    use crate::trace::Trace;

    #[test]
    fn no_feature_uses_the_slot_of_another() {
        let mut slots = Slots::default();
        slots.get_or_default::<DetectedCall>();
        slots.get_or_default::<Admitted>();
        slots.get_or_default::<CacheVisit>();
        slots.get_or_default::<HookVisit>();
        slots.get_or_default::<RecordedAsked>();
        slots.get_or_default::<ChosenMember>();
        slots.get_or_default::<FailedExpressions>();
        slots.get_or_default::<RecordedNoSession>();
        slots.get_or_default::<Trace>();
        slots.get_or_default::<PolicyTimings>();
        assert!(slots.0.iter().all(Option::is_some), "{slots:?}");
    }

    #[test]
    fn state_that_was_taken_out_comes_back() {
        let mut slots = Slots::default();
        let mut admitted = slots.take::<Admitted>();
        admitted.by[0] = Some(true);
        slots.put(admitted);
        assert_eq!(slots.take::<Admitted>().by[0], Some(true));
        assert!(slots.get::<Admitted>().is_none());
    }
}
