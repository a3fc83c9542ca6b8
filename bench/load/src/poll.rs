//! Level-triggered epoll with a number for each socket.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
pub(crate) use rustix::event::epoll::EventFlags;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};

/// What one wait brought; kept by the caller so that waiting allocates nothing.
pub(crate) struct Events(Vec<Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each ready token with what it is ready for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, EventFlags)> {
        self.0.iter().map(|event| (event.data.u64() as usize, event.flags))
    }
}

pub(crate) struct Poll {
    epoll: OwnedFd,
    /// It looks again and again instead of sleeping, so that nobody who sends something has to wake this core.
    awake: bool,
}

impl Poll {
    pub(crate) fn new(awake: bool) -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, awake })
    }

    pub(crate) fn add(&self, source: impl AsFd, token: usize, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token as u64), flags)?)
    }

    pub(crate) fn modify(&self, source: impl AsFd, token: usize, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, source, EventData::new_u64(token as u64), flags)?)
    }

    /// Waits for something to be ready; no events when the time is up.
    pub(crate) fn wait(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        if !self.awake {
            return self.look(timeout, events);
        }
        let end = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            self.look(Some(Duration::ZERO), events)?;
            if !events.is_empty() || end.is_some_and(|end| Instant::now() >= end) {
                return Ok(());
            }
            thread::yield_now();
        }
    }

    fn look(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        events.0.clear();
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events.0), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Binds and prints the address, which is how the caller learns a port chosen by the system.
pub(crate) fn listen(address: &str) -> Result<TcpListener, String> {
    let bind = || -> io::Result<TcpListener> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        println!("listening {}", listener.local_addr()?);
        Ok(listener)
    };
    bind().map_err(|error| format!("cannot listen on {address}: {error}"))
}

pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)
}

/// Values under small reusable numbers.
pub(crate) struct Slots<T> {
    items: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, item: T) -> usize {
        if let Some(index) = self.free.pop() {
            self.items[index] = Some(item);
            return index;
        }
        self.items.push(Some(item));
        self.items.len() - 1
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.items.get_mut(index)?.as_mut()
    }

    pub(crate) fn remove(&mut self, index: usize) {
        if self.items.get_mut(index).and_then(Option::take).is_some() {
            self.free.push(index);
        }
    }
}
