//! Connections that wait for Python to take them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Most connections that wait.
const MOST_WAITING: usize = 256;
/// How long the first of them wait at least, while Python imports what serves them.
const STARTING: Duration = Duration::from_secs(30);

/// A connection for Python.
#[derive(Debug)]
pub struct AdminConnection {
    /// The connection, or where TLS is ended here the end of a pair of sockets that is relayed to it.
    pub descriptor: OwnedFd,
    /// Where TLS is ended here, what the descriptor does not know.
    pub ends: Option<ConnectionEnds>,
}

/// The addresses of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionEnds {
    /// The client's.
    pub client: SocketAddr,
    /// The one that it has connected to.
    pub server: SocketAddr,
}

/// A queue of connections with a descriptor that is readable while there are any, so that an event loop can watch it.
pub(super) struct Handover {
    queue: Mutex<HandoverQueue>,
    /// One byte is in it while the queue is not empty.
    wake: (UnixStream, UnixStream),
    changed: Notify,
}

struct HandoverQueue {
    waiting: VecDeque<(Instant, AdminConnection)>,
    patience: Duration,
    closed: bool,
}

impl Handover {
    pub(super) fn new(patience: Duration) -> io::Result<Self> {
        let wake = UnixStream::pair()?;
        wake.0.set_nonblocking(true)?;
        wake.1.set_nonblocking(true)?;
        let waiting = VecDeque::new();
        let queue = Mutex::new(HandoverQueue { waiting, patience: patience.max(STARTING), closed: false });
        Ok(Self { queue, wake, changed: Notify::new() })
    }

    /// A descriptor of its own for the event loop to watch.
    pub(super) fn watched(&self) -> io::Result<OwnedFd> {
        self.wake.1.try_clone().map(OwnedFd::from)
    }

    /// Adds a connection, or gives it back if there is no room.
    pub(super) fn offer(&self, connection: AdminConnection) -> Result<(), AdminConnection> {
        let mut queue = self.queue.lock();
        if queue.closed || queue.waiting.len() >= MOST_WAITING {
            return Err(connection);
        }
        queue.waiting.push_back((Instant::now(), connection));
        if queue.waiting.len() == 1 {
            // The buffer of an empty pair takes a byte.
            let _ = (&self.wake.0).write(&[0]);
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Takes the connection that has waited longest. From now on the others wait `patience` at most.
    pub(super) fn take(&self, patience: Duration) -> Option<AdminConnection> {
        let mut queue = self.queue.lock();
        if queue.patience != patience {
            queue.patience = patience;
            self.changed.notify_one();
        }
        let taken = queue.waiting.pop_front();
        self.reset_if_empty(&queue);
        taken.map(|(_, connection)| connection)
    }

    fn reset_if_empty(&self, queue: &HandoverQueue) {
        if !queue.waiting.is_empty() {
            return;
        }
        let mut discarded = [0; 8];
        while let Err(error) = (&self.wake.1).read(&mut discarded) {
            if error.kind() != ErrorKind::Interrupted {
                break;
            }
        }
    }

    /// Waits until connections have waited too long, and takes them out.
    pub(super) async fn overdue(&self) -> Vec<AdminConnection> {
        loop {
            let due = {
                let mut queue = self.queue.lock();
                let patience = queue.patience;
                let late = queue.waiting.iter().take_while(|(since, _)| since.elapsed() >= patience).count();
                if late > 0 {
                    let taken = queue.waiting.drain(..late).map(|(_, connection)| connection).collect();
                    self.reset_if_empty(&queue);
                    return taken;
                }
                queue.waiting.front().map(|(since, _)| *since + patience)
            };
            match due {
                // Elapsed or changed: look again.
                Some(due) => drop(timeout_at(due, self.changed.notified()).await),
                None => self.changed.notified().await,
            }
        }
    }

    /// Closes those that wait. Nothing is added from now on.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.waiting.clear();
        self.reset_if_empty(&queue);
    }
}
