use super::*;
use crate::telemetry::panics::fixture::{count, records};
use crate::thread::fixture::{on_worker, until};

#[test]
#[expect(clippy::await_holding_refcell_ref, reason = "that is what makes the task panic")]
fn accepting_goes_on_after_a_panic() {
    on_worker(|seated| async move {
        let accepting = Accepting::start(&seated.worker, &(seated.address, Arc::clone(&seated.socket))).unwrap();
        assert!(seated.ask().await.ends_with("served"));
        let state = Rc::clone(&accepting.state);
        {
            // The task cannot look at its listener.
            let _held = state.listener.borrow_mut();
            assert_eq!(seated.ask().await, "");
        }
        assert!(seated.ask().await.ends_with("served"));
        assert_eq!(count(seated.log(), "accept"), 1);
        let records = records(seated.log(), "accept");
        assert!(records[0].contains("thread/accept.rs:"), "{records:?}");
        until(|| seated.worker.connections() == 0).await;
        accepting.stop().await;
    });
}

#[test]
fn a_stop_is_not_forgotten_by_a_panic_while_the_queue_is_emptied() {
    on_worker(|seated| async move {
        let accepting = Accepting::start(&seated.worker, &(seated.address, Arc::clone(&seated.socket))).unwrap();
        tokio::task::yield_now().await;
        let state = Rc::clone(&accepting.state);
        let log = Arc::clone(&seated.shared.log);
        // These are in the queue when the stop is asked for.
        let (first, second) =
            (std::net::TcpStream::connect(seated.address), std::net::TcpStream::connect(seated.address));
        assert!(first.is_ok() && second.is_ok());
        let held = state.listener.borrow_mut();
        let release = async {
            until(|| count(&log, "accept") > 0).await;
            drop(held);
        };
        tokio::time::timeout(Duration::from_secs(15), async { tokio::join!(accepting.stop(), release) }).await.unwrap();
        assert!(count(&log, "accept") >= 1);
    });
}

#[test]
fn the_task_closes_its_share_of_the_socket_whoever_still_knows_of_it() {
    on_worker(|seated| async move {
        let accepting = Accepting::start(&seated.worker, &(seated.address, Arc::clone(&seated.socket))).unwrap();
        assert!(seated.ask().await.ends_with("served"));
        let state = Rc::clone(&accepting.state);
        accepting.stop().await;
        assert!(state.socket.borrow().is_none());
        assert_eq!(Arc::strong_count(&seated.socket), 1);
    });
}
