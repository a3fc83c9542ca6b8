//! Names of instances looked up: of each name once at a time on each thread, whoever asks meanwhile.
//!
//! The system's resolver blocks, so each look-up takes one of a few threads, and goes on when nobody waits for it any more. If
//! every connection began its own, one name that hangs would take all threads, and all other names with it.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use foldhash::HashMap;
use tokio::net::lookup_host;
use tokio::sync::watch;

/// Names that one thread may look up at the same time.
pub(crate) const THREADS: usize = 16;

/// What came of a look-up: errors as kind and text, for all who wait.
type LookupResult = Result<Rc<[IpAddr]>, (io::ErrorKind, Rc<str>)>;

/// Look-ups under way on a thread, by name. Names are those of instances, which bounds their number.
#[derive(Default)]
struct Lookups(RefCell<HashMap<Box<str>, watch::Receiver<Option<LookupResult>>>>);

thread_local! {
    static LOOKUPS: Rc<Lookups> = Rc::default();
}

/// The addresses of `name`, at least one. Must run within a `LocalSet`.
pub(crate) async fn addresses(name: &str) -> io::Result<Rc<[IpAddr]>> {
    let lookups = LOOKUPS.with(Rc::clone);
    lookups
        .lookup(name, |name| async move { Ok(lookup_host((&*name, 0)).await?.map(|result| result.ip()).collect()) })
        .await
}

impl Lookups {
    /// Waits for the look-up of `name` that is under way, or for a new one by `resolve`.
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
            Some(Err((kind, text))) => Err(io::Error::new(kind, &*text)),
            None => Err(io::Error::other("the look-up was given up")),
        }
    }

    /// Begins a look-up, in a task that ends with it and not with those who wait.
    fn start(
        self: &Rc<Self>,
        name: &str,
        resolve: impl Future<Output = io::Result<Vec<IpAddr>>> + 'static,
    ) -> watch::Receiver<Option<LookupResult>> {
        let (sender, receiver) = watch::channel(None);
        self.0.borrow_mut().insert(name.into(), receiver.clone());
        let (lookups, name) = (Rc::clone(self), Box::<str>::from(name));
        tokio::task::spawn_local(async move {
            let result = resolve.await;
            lookups.0.borrow_mut().remove(&name);
            let result = result.map(Into::into).map_err(|error| (error.kind(), error.to_string().into()));
            sender.send_replace(Some(result));
        });
        receiver
    }
}

#[cfg(test)]
mod tests;
