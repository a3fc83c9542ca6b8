use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{Admission, AdmissionPermit, QueueTicket};
use crate::plan::{self, Queue};
use crate::service::ServiceState;
use crate::service::fixture::{at, build, plan, seconds, threads};

fn bounded(most: Option<usize>, size: usize) -> plan::ServicePlan {
    let queue = Queue { size, timeout: seconds(1.0) };
    plan::ServicePlan { max_in_flight: most, queue, ..plan("round_robin", &[1]) }
}

fn enter(service: &ServiceState) -> Option<AdmissionPermit<'_>> {
    match service.admit() {
        Admission::Enter(entry) => Some(entry),
        _ => None,
    }
}

fn waits(service: &ServiceState) -> QueueTicket<'_> {
    match service.admit() {
        Admission::Wait(place) => place,
        other => panic!("{other:?}"),
    }
}

fn try_enter<'s>(place: &mut QueueTicket<'s>) -> Option<AdmissionPermit<'s>> {
    match place.poll_enter(&Context::from_waker(Waker::noop())) {
        Poll::Ready(entry) => Some(entry),
        Poll::Pending => None,
    }
}

#[test]
fn without_a_bound_everybody_enters() {
    let service = build(&bounded(None, 0));
    let entries: Vec<_> = (0..1000).map(|_| enter(&service).unwrap()).collect();
    assert_eq!((entries.len(), service.entered()), (1000, 0));
}

#[test]
fn beyond_the_bound_some_wait_and_the_rest_is_refused() {
    let service = build(&bounded(Some(2), 1));
    let (first, _second) = (enter(&service).unwrap(), enter(&service).unwrap());
    let Admission::Wait(place) = service.admit() else { panic!("there is room in the queue") };
    assert!(matches!(service.admit(), Admission::Full));
    assert_eq!((service.entered(), service.waiting()), (2, 1));
    let mut place = place;
    assert!(try_enter(&mut place).is_none());
    drop(first);
    assert_eq!((service.entered(), service.waiting()), (2, 0));
    let Admission::Wait(mut later) = service.admit() else { panic!("there is room in the queue") };
    assert!(try_enter(&mut later).is_none(), "nobody overtakes");
    let _third = try_enter(&mut place).unwrap();
    assert_eq!((service.entered(), service.waiting()), (2, 1));
}

#[test]
fn who_came_first_goes_first() {
    let service = build(&bounded(Some(1), 10));
    let mut inside = enter(&service);
    let mut line: Vec<_> = (0..5).map(|_| waits(&service)).collect();
    while !line.is_empty() {
        drop(inside.take());
        // Later ones are polled first, and so is a new one, and none is admitted.
        let mut late = waits(&service);
        assert!(try_enter(&mut late).is_none());
        assert!(line[1..].iter_mut().all(|place| try_enter(place).is_none()));
        inside = try_enter(&mut line.remove(0));
        assert!(inside.is_some());
    }
}

#[test]
fn who_is_let_in_is_woken_and_nobody_else() {
    #[derive(Default)]
    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let service = build(&bounded(Some(1), 10));
    let entry = enter(&service);
    let counts: [Arc<Count>; 3] = Default::default();
    let mut places: Vec<_> = counts
        .iter()
        .map(|count| {
            let mut place = waits(&service);
            assert!(place.poll_enter(&Context::from_waker(&Waker::from(Arc::clone(count)))).is_pending());
            place
        })
        .collect();
    let woken = || counts.each_ref().map(|count| count.0.load(Ordering::Relaxed));
    drop(entry);
    assert_eq!(woken(), [1, 0, 0]);
    // It is dropped before it is polled: the next one is admitted.
    drop(places.remove(0));
    assert_eq!(woken(), [1, 1, 0]);
    assert_eq!((service.entered(), service.waiting()), (1, 1));
    drop(places.remove(1));
    assert_eq!((service.entered(), service.waiting()), (1, 0));
    assert!(try_enter(&mut places[0]).is_some());
    drop(places);
    assert_eq!((service.entered(), service.waiting(), woken()), (0, 0, [1, 1, 0]));
}

#[test]
fn a_reload_that_makes_room_lets_in_who_waits() {
    let service = build(&bounded(Some(1), 10));
    let _entry = enter(&service);
    let mut first = waits(&service);
    let next = ServiceState::build(&bounded(Some(3), 10), Some(&service), at(0.0)).unwrap();
    let mut second = waits(&next);
    assert!(try_enter(&mut first).is_some() && try_enter(&mut second).is_some());
}

#[test]
fn a_place_that_is_given_up_is_free() {
    let service = build(&bounded(Some(1), 1));
    let _entry = enter(&service).unwrap();
    drop(service.admit());
    assert!(matches!(service.admit(), Admission::Wait(_)));
    assert_eq!((service.entered(), service.waiting()), (1, 0));
}

#[test]
fn without_a_queue_the_bound_refuses() {
    let service = build(&bounded(Some(1), 0));
    let entry = enter(&service).unwrap();
    assert!(matches!(service.admit(), Admission::Full));
    drop(entry);
    assert!(enter(&service).is_some());
}

#[test]
fn a_reload_keeps_those_who_are_in() {
    let service = build(&bounded(Some(2), 0));
    let _entry = enter(&service).unwrap();
    let next = ServiceState::build(&bounded(Some(1), 0), Some(&service), at(0.0)).unwrap();
    assert!(matches!(next.admit(), Admission::Full));
}

#[test]
fn the_bound_holds_while_workers_race() {
    let service = build(&bounded(Some(3), 2));
    let inside = AtomicU32::new(0);
    let work = |_| {
        for _ in 0..5000 {
            let entry = match service.admit() {
                Admission::Enter(entry) => Some(entry),
                Admission::Wait(mut place) => try_enter(&mut place),
                Admission::Full => None,
            };
            if entry.is_some() {
                assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    threads(4, work);
    assert_eq!((service.entered(), service.waiting()), (0, 0));
}
