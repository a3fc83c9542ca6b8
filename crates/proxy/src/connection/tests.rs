use std::os::fd::AsRawFd;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::snapshot::fixture::{answering_plan, built};
use crate::telemetry::panics::fixture::PATIENCE;
use crate::thread::fixture::{Seated, on_worker, until};

/// A client of the worker, and the tasks that serve its connection.
struct Visitor {
    client: TcpStream,
    tasks: Rc<ConnectionTasks>,
}

impl Visitor {
    async fn of(seated: &Seated) -> Self {
        let worker = &seated.worker;
        tokio::task::spawn_local(Rc::clone(&worker.wheel).run());
        let client = TcpStream::connect(seated.address).await.unwrap();
        let (stream, peer) = FreshStream::accept(&seated.socket).unwrap();
        let tasks = ConnectionTasks::new(worker);
        let open = worker.open_connection(stream.as_raw_fd(), peer);
        tasks.serve(Accepted { open, listener: worker.listener(seated.address).unwrap(), stream, peer });
        Self { client, tasks }
    }

    async fn ask(&mut self) {
        self.client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let answer = self.read().await;
        assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"served"), "{}", answer.escape_ascii());
    }

    /// What comes next.
    async fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4096);
        timeout(PATIENCE, self.client.read_buf(&mut bytes)).await.unwrap().unwrap();
        bytes
    }

    /// Waits until the task that has served the connection is there for others.
    async fn rested(&self) {
        until(|| self.tasks.pool.waiting() == 1).await;
        assert_eq!(self.tasks.worker.connections(), 1);
    }
}

#[test]
fn a_connection_at_rest_serves_the_next_request() {
    on_worker(|seated| async move {
        let mut visitor = Visitor::of(&seated).await;
        visitor.rested().await;
        for _ in 0..2 {
            visitor.ask().await;
            assert_eq!(visitor.tasks.pool.waiting(), 0);
            visitor.rested().await;
        }
        drop(visitor.client);
        until(|| seated.worker.connections() == 0).await;
    });
}

#[test]
fn the_preface_of_http2_may_come_after_a_rest() {
    on_worker(|seated| async move {
        let mut plan = answering_plan(seated.address, "served", &json!({}));
        plan.listeners[0].http2 = true;
        seated.worker.set_snapshot(Arc::new(built(plan)));
        let mut visitor = Visitor::of(&seated).await;
        visitor.rested().await;
        visitor.client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let answer = visitor.read().await;
        assert_eq!(answer.get(3), Some(&4), "SETTINGS were expected: {}", answer.escape_ascii());
        until(|| visitor.tasks.pool.waiting() == 1).await;
        assert_eq!(seated.worker.connections(), 1);
    });
}

#[test]
fn a_connection_at_rest_is_closed_to_make_room_as_one_that_is_idle_for_longest() {
    on_worker(|seated| async move {
        let mut visitor = Visitor::of(&seated).await;
        visitor.rested().await;
        // A rest does not begin the idle time anew.
        assert!(seated.worker.wheel.wake_any_idle(crate::worker::SETTLED));
        assert_eq!(visitor.read().await, b"");
        until(|| seated.worker.connections() == 0).await;
    });
}

#[test]
fn a_connection_at_rest_is_closed_when_the_gateway_stops() {
    on_worker(|seated| async move {
        let mut visitor = Visitor::of(&seated).await;
        visitor.ask().await;
        visitor.rested().await;
        seated.worker.close_idle();
        assert_eq!(visitor.read().await, b"");
    });
}
