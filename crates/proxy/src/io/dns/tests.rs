use std::cell::Cell;
use std::future::{Ready, poll_fn, ready};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::task::{LocalSet, yield_now};

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn never(_: Box<str>) -> Ready<io::Result<Vec<IpAddr>>> {
    panic!("a second look-up of the same name")
}

/// Polls once. Returns true if the result is pending.
async fn is_pending(waiting: &mut (impl Future + Unpin)) -> bool {
    poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *waiting).poll(cx).is_pending())).await
}

#[test]
fn concurrent_lookups_of_a_name_share_the_result() {
    run(async {
        let lookups = Rc::<Lookups>::default();
        let (answer, answered) = oneshot::channel();
        let mut first = pin!(Rc::clone(&lookups).lookup("slow.test", |_| async { answered.await.unwrap() }));
        assert!(is_pending(&mut first).await);
        let mut second = pin!(Rc::clone(&lookups).lookup("slow.test", never));
        assert!(is_pending(&mut second).await);
        // The lookup of another name does not wait for it.
        let other = Rc::clone(&lookups).lookup("other.test", |_| ready(Ok(vec![ADDRESS])));
        assert_eq!(*other.await.unwrap(), [ADDRESS]);
        answer.send(Ok(vec![ADDRESS])).unwrap();
        assert_eq!((&*first.await.unwrap(), &*second.await.unwrap()), (&[ADDRESS][..], &[ADDRESS][..]));
        assert!(lookups.0.borrow().is_empty());
    });
}

#[test]
fn a_lookup_continues_without_waiters_and_serves_the_next_one() {
    run(async {
        let lookups = Rc::<Lookups>::default();
        let (answer, answered) = oneshot::channel();
        {
            let mut left = Box::pin(Rc::clone(&lookups).lookup("slow.test", |_| async { answered.await.unwrap() }));
            assert!(is_pending(&mut left).await);
        }
        let mut next = pin!(Rc::clone(&lookups).lookup("slow.test", never));
        assert!(is_pending(&mut next).await);
        answer.send(Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))).unwrap();
        let error = next.await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::TimedOut, "no answer".to_owned()));
        // Results are not cached: the next lookup starts anew.
        let asked = Cell::new(0);
        for _ in 0..2 {
            let found = Rc::clone(&lookups).lookup("slow.test", |_| {
                asked.set(asked.get() + 1);
                ready(Ok(Vec::new()))
            });
            assert_eq!(found.await.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(asked.get(), 2);
        yield_now().await;
    });
}

#[test]
fn a_lookup_that_panics_fails_and_the_next_one_starts_anew() {
    run(async {
        let lookups = Rc::<Lookups>::default();
        let struck = Rc::clone(&lookups).lookup("struck.test", |_| async { panic!("in a look-up") });
        assert_eq!(struck.await.unwrap_err().kind(), io::ErrorKind::Other);
        let next = Rc::clone(&lookups).lookup("struck.test", |_| ready(Ok(vec![ADDRESS])));
        assert_eq!(*next.await.unwrap(), [ADDRESS]);
    });
}
