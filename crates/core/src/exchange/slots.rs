//! What features remember of an exchange, each in a slot of its own, so that an exchange knows none of them.

use std::any::Any;
use std::fmt::Debug;

/// The features that remember something. A feature names its position; this is the one list of them.
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

/// What a feature remembers of an exchange. It stays with the object, which serves one exchange after the other, so that its
/// memory is used again.
pub trait FeatureMemory: Any + Debug + Send {
    /// Forgets everything: what is left is as good as new.
    fn reset(&mut self);

    /// The response that the exchange had is thrown away.
    fn forget_response(&mut self) {}
}

/// The memory of one feature, at its position.
pub trait Feature: FeatureMemory + Default {
    /// Where it lies.
    const POSITION: FeatureSlot;
}

/// All slots of an exchange. One that was never used takes no memory.
#[derive(Debug, Default)]
pub struct Slots([Option<Box<dyn FeatureMemory>>; POSITIONS]);

impl Slots {
    /// What the feature remembers, if it has met this object before.
    #[inline]
    pub fn get<T: Feature>(&self) -> Option<&T> {
        let memory: &dyn Any = self.0[T::POSITION as usize].as_deref()?;
        memory.downcast_ref()
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut<T: Feature>(&mut self) -> Option<&mut T> {
        let memory: &mut dyn Any = self.0[T::POSITION as usize].as_deref_mut()?;
        memory.downcast_mut()
    }

    /// The same; it begins with nothing.
    ///
    /// # Panics
    /// If another type claims the position.
    pub fn get_or_default<T: Feature>(&mut self) -> &mut T {
        let memory: &mut dyn Any = &mut **self.0[T::POSITION as usize].get_or_insert_with(|| Box::new(T::default()));
        let Some(memory) = memory.downcast_mut() else { unreachable!("{:?} belongs to another type", T::POSITION) };
        memory
    }

    /// Has two exchanges trade what a feature remembers of them.
    pub fn swap<T: Feature>(&mut self, other: &mut Self) {
        let position = T::POSITION as usize;
        std::mem::swap(&mut self.0[position], &mut other.0[position]);
    }

    /// Has all features forget the exchange.
    pub(super) fn reset(&mut self) {
        self.0.iter_mut().flatten().for_each(|memory| memory.reset());
    }

    /// Tells all features that its response is thrown away.
    pub(super) fn forget_response(&mut self) {
        self.0.iter_mut().flatten().for_each(|memory| memory.forget_response());
    }
}
