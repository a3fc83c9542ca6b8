//! DNS lookups of instances. Each thread runs one lookup per name at a time, which all connections share.
//!
//! The system's resolver blocks, so each lookup occupies one of a few threads, even when its result is no longer
//! needed. If every connection started its own, one name that hangs would occupy all threads and block all other names.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use foldhash::HashMap;
use pylae_core::Shortage;
use tokio::net::lookup_host;
use tokio::sync::watch;

use crate::io::shortage;

/// Most lookups that one thread runs at the same time.
pub(crate) const THREADS: usize = 16;

/// The result of a lookup.
type LookupResult = Result<Rc<[IpAddr]>, LookupError>;

/// Why a lookup failed, for the several connections that receive it.
#[derive(Clone)]
struct LookupError {
    kind: io::ErrorKind,
    text: Rc<str>,
    /// What the gateway lacked, if it is its own failure.
    lacked: Option<Shortage>,
}

/// Lookups in progress on a thread, by name. Only instances have names, which bounds the number.
#[derive(Default)]
struct Lookups(RefCell<HashMap<Box<str>, watch::Receiver<Option<LookupResult>>>>);

thread_local! {
    static LOOKUPS: Rc<Lookups> = Rc::default();
}

/// A lookup in progress until it is dropped.
struct RunningLookup {
    lookups: Rc<Lookups>,
    name: Box<str>,
}

impl Drop for RunningLookup {
    fn drop(&mut self) {
        self.lookups.0.borrow_mut().remove(&self.name);
    }
}

/// Returns the addresses of `name`, at least one. Must run within a `LocalSet`.
pub(crate) async fn addresses(name: &str) -> io::Result<Rc<[IpAddr]>> {
    let lookups = LOOKUPS.with(Rc::clone);
    lookups
        .lookup(name, |name| async move { Ok(lookup_host((&*name, 0)).await?.map(|result| result.ip()).collect()) })
        .await
}

impl Lookups {
    /// Joins the lookup of `name` that is in progress, or starts one with `resolve`.
    async fn lookup<F>(self: Rc<Self>, name: &str, resolve: impl FnOnce(Box<str>) -> F) -> io::Result<Rc<[IpAddr]>>
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + 'static,
    {
        let known = self.0.borrow().get(name).cloned();
        let mut result = known.unwrap_or_else(|| self.start(name, resolve(name.into())));
        let result = result.wait_for(Option::is_some).await;
        match result.ok().and_then(|result| result.clone()) {
            Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Some(Ok(_)) => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            Some(Err(LookupError { lacked: Some(what), text, .. })) => Err(shortage::mark(what, (*text).to_owned())),
            Some(Err(LookupError { kind, text, .. })) => Err(io::Error::new(kind, &*text)),
            None => Err(io::Error::other("the look-up was given up")),
        }
    }

    /// Starts a lookup in a task of its own, which outlives the connections that wait for it.
    fn start(
        self: &Rc<Self>,
        name: &str,
        resolve: impl Future<Output = io::Result<Vec<IpAddr>>> + 'static,
    ) -> watch::Receiver<Option<LookupResult>> {
        let (sender, receiver) = watch::channel(None);
        self.0.borrow_mut().insert(name.into(), receiver.clone());
        let (lookups, name) = (Rc::clone(self), Box::<str>::from(name));
        tokio::task::spawn_local(async move {
            // Dropped after a panic as well: the next connection starts another lookup then.
            let running = RunningLookup { lookups, name };
            let result = resolve.await;
            drop(running);
            let result = result.map(Into::into).map_err(|error| LookupError {
                kind: error.kind(),
                text: error.to_string().into(),
                lacked: shortage::of_lookup(&error),
            });
            sender.send_replace(Some(result));
        });
        receiver
    }
}

#[cfg(test)]
mod tests;
