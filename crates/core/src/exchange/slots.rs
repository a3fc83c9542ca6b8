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
}

const POSITIONS: usize = FeatureSlot::Location as usize + 1;

/// Per-exchange state of a feature. It stays with the exchange object, which serves one request after another, so that
/// its memory is reused.
pub trait FeatureMemory: Any + Debug + Send {
    /// Returns to the initial state.
    fn reset(&mut self);

    /// Called when the instance's response is dropped.
    fn forget_response(&mut self) {}
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
    /// If another type uses the same slot.
    pub fn get_or_default<T: Feature>(&mut self) -> &mut T {
        let memory: &mut dyn Any = &mut **self.0[T::POSITION as usize].get_or_insert_with(|| Box::new(T::default()));
        let Some(memory) = memory.downcast_mut() else { unreachable!("{:?} belongs to another type", T::POSITION) };
        memory
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

    /// Notifies all features that the response is dropped.
    pub(super) fn forget_response(&mut self) {
        self.0.iter_mut().flatten().for_each(|memory| memory.forget_response());
    }
}
